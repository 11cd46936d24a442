/* Asks a question about a picture, and prints the answer as it comes. Usage: ask PICTURE QUESTION [MODEL] */
#include <stdio.h>
#include <strix.h>

static StrixError *error;

static int failed(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strix_error_message(error));
    strix_error_free(error);
    return 1;
}

int main(int argc, char **argv) {
    StrixCheckpoint *checkpoint;
    StrixModel *model;
    StrixSession *session;
    StrixImage *picture;
    StrixGeneration *generation;
    StrixToken token = {.size = sizeof token};
    StrixStatus status;

    if (argc < 3) {
        fprintf(stderr, "usage: ask PICTURE QUESTION [MODEL]\n");
        return 2;
    }
    status = argc > 3 ? strix_checkpoint_open(argv[3], NULL, NULL, &checkpoint, &error)
                      : strix_checkpoint_nano(NULL, &checkpoint, &error);
    if (status < 0) return failed("model");
    if (strix_model_load(checkpoint, NULL, &model, &error) < 0) return failed("load");
    if (strix_session_new(model, &session, &error) < 0) return failed("session");
    if (strix_image_open(argv[1], NULL, &picture, &error) < 0) return failed("picture");
    if (strix_session_add_image(session, picture, &error) < 0) return failed("picture");
    if (strix_session_ask(session, argv[2], NULL, &generation, &error) < 0) return failed("ask");
    while ((status = strix_generation_next(generation, &token, &error)) == STRIX_STATUS_OK) {
        fwrite(token.text, 1, token.text_len, stdout);
        fflush(stdout);
    }
    if (status < 0) return failed("answer");
    putchar('\n');

    strix_generation_free(generation);
    strix_image_free(picture);
    strix_session_free(session);
    strix_model_free(model);
    strix_checkpoint_free(checkpoint);
    return 0;
}
