/* Every function of strix.h, with every way in which it fails that can be brought about. Usage: check PICTURE FOLDER NANO [quick] */
#include <stdlib.h>

#include "check.h"

int failures = 0;

void expect(StrixStatus status, StrixError *error, StrixStatus expected, const char *words, const char *call,
            const char *file, int line) {
    const char *message = strix_error_message(error);
    if (status != expected || strix_error_code(error) != expected || strstr(message, words) == NULL) {
        printf("FAILED %s:%d: %s: %s, not %s with \"%s\": %s\n", file, line, call, strix_status_name(status),
               strix_status_name(expected), words, message);
        failures++;
    } else {
        printf("  %-28s %.100s\n", strix_status_name(status), message);
    }
    strix_error_free(error);
}

StrixModel *load(const StrixLoadOptions *options) {
    StrixCheckpoint *checkpoint = NULL;
    StrixModel *model = NULL;
    OK(strix_checkpoint_nano(NULL, &checkpoint, &error));
    OK(strix_model_load(checkpoint, options, &model, &error));
    strix_checkpoint_free(checkpoint);
    if (model == NULL) exit(1);
    return model;
}

StrixImage *open_picture(const char *path) {
    StrixImage *picture = NULL;
    OK(strix_image_open(path, NULL, &picture, &error));
    return picture;
}

char *read_file(const char *path, size_t *len) {
    FILE *file = fopen(path, "rb");
    char *bytes = malloc(8 << 20);
    *len = 0;
    if (file != NULL && bytes != NULL) {
        *len = fread(bytes, 1, 8 << 20, file);
        fclose(file);
    }
    return bytes;
}

void ask_text(StrixSession *session, const char *question, const StrixAskOptions *options, char *text, size_t room) {
    StrixGeneration *generation = NULL;
    StrixAnswer *answer = NULL;
    StrixAnswerInfo info = {.size = sizeof info};
    text[0] = 0;
    OK(strix_session_ask(session, question, options, &generation, &error));
    OK(strix_generation_finish(generation, &answer, &error));
    OK(strix_answer_info(answer, &info, &error));
    if (info.text != NULL) snprintf(text, room, "%s", info.text);
    strix_generation_free(generation);
    strix_answer_free(answer);
}

void check_versions(void) {
    printf("Strix %s, ABI %u\n", strix_version(), (unsigned)strix_abi_version());
    CHECK(strix_abi_version() == STRIX_ABI_VERSION);
    CHECK(strcmp(strix_status_name(STRIX_STATUS_OUT_OF_MEMORY), "STRIX_STATUS_OUT_OF_MEMORY") == 0);
    CHECK(strcmp(strix_status_name((StrixStatus)-12345), "unknown") == 0);
    CHECK(strix_error_code(NULL) == STRIX_STATUS_OK && strcmp(strix_error_message(NULL), "") == 0);
}

int main(int argc, char **argv) {
    Given given;
    StrixModel *model, *other;
    StrixModelInfo info = {.size = sizeof info};
    if (argc < 4) {
        fprintf(stderr, "usage: check PICTURE FOLDER NANO [quick]\n");
        return 2;
    }
    given.picture = argv[1];
    given.folder = argv[2];
    given.nano = argv[3];
    given.quick = argc > 4;
    setvbuf(stdout, NULL, _IOLBF, 0);

    check_versions();
    check_devices();
    check_files(&given);
    check_plans();
    check_pictures(&given);
    check_nulls();
    if (!given.quick) check_loading();
    model = load(NULL);
    OK(strix_model_info(model, &info, &error));
    printf("nano: %llu parameters on %s, context %u\n", (unsigned long long)info.num_parameters, info.adapter,
           (unsigned)info.ctx);
    CHECK(info.ctx > 0 && info.vocab_size > 0 && info.weight_bytes > 0 && info.positions_per_picture > 0);
    check_answers(model, &given);
    check_options(model, &given);
    check_tokens(model, &given);
    check_sessions(model, &given);
    check_threads(model, &given);
    other = strix_model_share(model);
    strix_model_free(model);
    CHECK(other != NULL && strix_model_note(other, 1000) == NULL);
    strix_model_free(other);
    printf(failures == 0 ? "all of strix.h: ok\n" : "%d FAILED\n", failures);
    return failures != 0;
}
