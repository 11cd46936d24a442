/* Cancels an answer that a callback listens to, from the main thread. Usage: cancel PICTURE QUESTION */
#include <pthread.h>
#include <stdio.h>
#include <strix.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int tokens, ended;

/* Called on the model's thread. */
static int32_t listen_to(void *user, const StrixEvent *event) {
    (void)user;
    pthread_mutex_lock(&lock);
    if (event->kind == STRIX_EVENT_KIND_TOKEN) {
        printf("%s", event->token->text);
        tokens++;
    } else {
        printf("%s\n", event->kind == STRIX_EVENT_KIND_FAILED ? strix_error_message(event->error) : " ... ended");
        ended = 1;
    }
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
    return 0;
}

int main(int argc, char **argv) {
    StrixAskOptions options = {.size = sizeof options, .max_tokens = 400, .min_tokens = 400};
    StrixCheckpoint *checkpoint;
    StrixModel *model = NULL;
    StrixSession *session = NULL;
    StrixImage *picture = NULL;
    StrixGeneration *generation = NULL;
    StrixCanceller *canceller = NULL;
    StrixError *error = NULL;

    if (argc < 3) {
        fprintf(stderr, "usage: cancel PICTURE QUESTION\n");
        return 2;
    }
    /* A NULL handle is an error as any other: the first is told, and the rest follow from it. */
    if (strix_checkpoint_nano(NULL, &checkpoint, &error) < 0 ||
        strix_model_load(checkpoint, NULL, &model, &error) < 0 || strix_session_new(model, &session, &error) < 0 ||
        strix_image_open(argv[1], NULL, &picture, &error) < 0 ||
        strix_session_add_image(session, picture, &error) < 0 ||
        strix_session_ask(session, argv[2], &options, &generation, &error) < 0 ||
        strix_generation_listen(generation, listen_to, NULL, &canceller, &error) < 0) {
        fprintf(stderr, "%s\n", strix_error_message(error));
        strix_error_free(error);
        return 1;
    }
    pthread_mutex_lock(&lock);
    while (tokens < 3 && !ended) pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    strix_canceller_cancel(canceller);
    pthread_mutex_lock(&lock);
    while (!ended) pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);

    strix_canceller_free(canceller);
    strix_generation_free(generation);
    strix_image_free(picture);
    strix_session_free(session);
    strix_model_free(model);
    strix_checkpoint_free(checkpoint);
    return 0;
}
