/* Callbacks, cancelling, and handles on several threads. */
#include <pthread.h>
#include <stdlib.h>

#include "check.h"

/* What a listener has heard. */
typedef struct Heard {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int tokens, ends, finish, cancel_after;
    char text[512];
    StrixSession *session; /* Asked within the callback, if there is one. */
    StrixGeneration *next;
    StrixModel *model;   /* Freed within the callback, if there is one: it is told to `other`, and then to nobody. */
    struct Heard *other;
} Heard;

static int32_t hear(void *user, const StrixEvent *event) {
    Heard *heard = user;
    StrixAnswerInfo info = {.size = sizeof info};
    int cancel;
    pthread_mutex_lock(&heard->lock);
    if (event->kind == STRIX_EVENT_KIND_TOKEN) {
        size_t used = strlen(heard->text);
        snprintf(heard->text + used, sizeof heard->text - used, "%s", event->token->text);
        heard->tokens++;
    } else if (event->kind == STRIX_EVENT_KIND_FINISHED) {
        OK(strix_answer_info(event->answer, &info, &error));
        heard->finish = (int)info.finish;
        if (heard->session != NULL) {
            /* The next question is asked where the last one ends. */
            OK(strix_session_ask(heard->session, "And now?", NULL, &heard->next, &error));
        }
        if (heard->model != NULL) {
            strix_model_free(heard->model);
            pthread_mutex_lock(&heard->other->lock);
            CHECK(heard->other->ends == 1);
            pthread_mutex_unlock(&heard->other->lock);
        }
        heard->ends++;
    } else {
        printf("FAILED: %s\n", strix_error_message(event->error));
        failures++;
        heard->ends++;
    }
    cancel = heard->cancel_after > 0 && heard->tokens >= heard->cancel_after;
    pthread_cond_broadcast(&heard->changed);
    pthread_mutex_unlock(&heard->lock);
    return cancel;
}

static void wait_for(Heard *heard, int tokens) {
    pthread_mutex_lock(&heard->lock);
    while (heard->ends == 0 && (tokens == 0 || heard->tokens < tokens)) pthread_cond_wait(&heard->changed, &heard->lock);
    pthread_mutex_unlock(&heard->lock);
}

static Heard fresh(void) {
    Heard heard = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    return heard;
}

/* Has a callback hear. ThreadSanitizer sees the lock, and not those of the library, which hands it to the model's thread. */
static void listen_to(StrixGeneration *generation, Heard *heard, StrixCanceller **canceller) {
    pthread_mutex_lock(&heard->lock);
    pthread_mutex_unlock(&heard->lock);
    OK(strix_generation_listen(generation, hear, heard, canceller, &error));
}

/* An answer that does not end by itself: a token that ends one is ruled out by a minimum. */
static StrixAskOptions endless(void) {
    StrixAskOptions options = {.size = sizeof options, .max_tokens = 400, .min_tokens = 400};
    return options;
}

static void check_listening(StrixModel *model) {
    StrixSession *session = NULL;
    StrixGeneration *generation = NULL;
    StrixCanceller *canceller = NULL;
    StrixAskOptions options = endless();
    Heard heard = fresh(), second = fresh();
    OK(strix_session_new(model, &session, &error));

    /* To its end, and from there a second question, asked by the callback. */
    heard.session = session;
    OK(strix_session_ask(session, "What is this?", NULL, &generation, &error));
    FAILS(STRIX_STATUS_NULL_POINTER, "callback", strix_generation_listen(generation, NULL, NULL, NULL, &error));
    listen_to(generation, &heard, NULL);
    FAILS(STRIX_STATUS_NOTHING_TO_RESUME, "taken", strix_generation_listen(generation, hear, &heard, NULL, &error));
    strix_generation_free(generation);
    wait_for(&heard, 0);
    printf("heard: %s (%d tokens)\n", heard.text, heard.tokens);
    CHECK(heard.ends == 1 && heard.tokens > 0 && heard.finish == STRIX_FINISH_EOS && heard.next != NULL);
    strix_generation_free(heard.next);

    /* Cancelled by what the callback returns. */
    second.cancel_after = 3;
    OK(strix_session_ask(session, "Go on.", &options, &generation, &error));
    listen_to(generation, &second, &canceller);
    strix_generation_free(generation);
    wait_for(&second, 0);
    printf("cancelled by its callback after %d tokens\n", second.tokens);
    CHECK(second.ends == 1 && second.finish == STRIX_FINISH_CANCELLED);
    strix_canceller_cancel(canceller);
    strix_canceller_free(canceller);
    strix_session_free(session);
}

/* The last handle of a model, freed within a callback of another: that waits for its answers, too. */
static void check_freeing(StrixModel *model) {
    StrixModel *other = load(NULL);
    StrixSession *session = NULL;
    StrixGeneration *generation = NULL;
    StrixAskOptions options = endless();
    Heard heard = fresh(), second = fresh();
    options.max_tokens = options.min_tokens = 100;
    OK(strix_session_new(other, &session, &error));
    OK(strix_session_ask(session, "Go on.", &options, &generation, &error));
    listen_to(generation, &second, NULL);
    strix_generation_free(generation);
    strix_session_free(session);

    heard.model = other;
    heard.other = &second;
    options.max_tokens = options.min_tokens = 2;
    OK(strix_session_new(model, &session, &error));
    OK(strix_session_ask(session, "What is this?", &options, &generation, &error));
    listen_to(generation, &heard, NULL);
    strix_generation_free(generation);
    wait_for(&heard, 0);
    strix_session_free(session);
    wait_for(&second, 0);
    printf("freed after %d tokens of its answer\n", second.tokens);
    CHECK(second.tokens == 100);
}

typedef struct Later {
    StrixCanceller *canceller;
    StrixGeneration *generation;
    Heard *heard;
} Later;

static void *cancel_later(void *user) {
    Later *later = user;
    if (later->heard != NULL) wait_for(later->heard, 3);
    strix_canceller_cancel(later->canceller);
    if (later->generation != NULL) strix_generation_cancel(later->generation);
    return NULL;
}

static void check_cancelling(StrixModel *model) {
    StrixSession *session = NULL;
    StrixGeneration *generation = NULL;
    StrixAskOptions options = endless();
    StrixToken token = {.size = sizeof token};
    StrixAnswer *answer = NULL;
    StrixAnswerInfo info = {.size = sizeof info};
    Heard heard = fresh();
    Later later = {NULL, NULL, NULL};
    pthread_t thread;
    int taken = 0;
    OK(strix_session_new(model, &session, &error));

    /* One that waits for tokens is cancelled from another thread. */
    OK(strix_session_ask(session, "Go on.", &options, &generation, &error));
    later.generation = generation;
    pthread_create(&thread, NULL, cancel_later, &later);
    while (strix_generation_next(generation, &token, NULL) == STRIX_STATUS_OK) taken++;
    pthread_join(thread, NULL);
    OK(strix_generation_finish(generation, &answer, &error));
    OK(strix_answer_info(answer, &info, &error));
    printf("cancelled from another thread after %d tokens\n", taken);
    CHECK(info.finish == STRIX_FINISH_CANCELLED && taken < 400);
    strix_answer_free(answer);
    strix_generation_free(generation);

    /* One that is listened to, by a canceller of its options, which is freed before it ends. */
    OK(strix_session_reset(session, &error));
    later.canceller = options.canceller = strix_canceller_new();
    later.generation = NULL;
    later.heard = &heard;
    OK(strix_session_ask(session, "Go on.", &options, &generation, &error));
    listen_to(generation, &heard, NULL);
    strix_generation_free(generation);
    pthread_create(&thread, NULL, cancel_later, &later);
    pthread_join(thread, NULL);
    CHECK(strix_canceller_is_cancelled(later.canceller) == 1);
    strix_canceller_free(later.canceller);
    wait_for(&heard, 0);
    printf("cancelled by its options after %d tokens\n", heard.tokens);
    CHECK(heard.ends == 1 && heard.finish == STRIX_FINISH_CANCELLED);

    /* A canceller outlives its answer. */
    options.canceller = NULL;
    OK(strix_session_reset(session, &error));
    OK(strix_session_ask(session, "Go on.", &options, &generation, &error));
    later.canceller = strix_generation_canceller(generation);
    strix_generation_free(generation);
    strix_session_free(session);
    strix_canceller_cancel(later.canceller);
    strix_canceller_free(later.canceller);
}

typedef struct Asker {
    StrixModel *model;
    StrixSession *shared;
    const Given *given;
    char text[512];
} Asker;

static void *ask_apart(void *user) {
    Asker *asker = user;
    StrixImage *picture = open_picture(asker->given->picture);
    StrixSession *session = NULL;
    OK(strix_session_new(asker->model, &session, &error));
    OK(strix_session_add_image(session, picture, &error));
    ask_text(session, "What is in the picture?", NULL, asker->text, sizeof asker->text);
    strix_session_free(session);
    strix_image_free(picture);
    return NULL;
}

static void *wait_long(void *user) {
    StrixToken token = {.size = sizeof token};
    while (strix_generation_next(user, &token, NULL) == STRIX_STATUS_OK) {
    }
    return NULL;
}

void check_threads(StrixModel *model, const Given *given) {
    enum { THREADS = 4 };
    Asker askers[THREADS];
    pthread_t threads[THREADS];
    StrixSession *session = NULL;
    StrixGeneration *generation = NULL;
    StrixAskOptions options = endless();
    StrixToken token = {.size = sizeof token};
    StrixStatus status = STRIX_STATUS_OK;
    int i;
    check_listening(model);
    check_cancelling(model);
    if (!given->quick) check_freeing(model);

    for (i = 0; i < THREADS; i++) {
        askers[i].model = model;
        askers[i].given = given;
        pthread_create(&threads[i], NULL, ask_apart, &askers[i]);
    }
    for (i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        CHECK(strcmp(askers[i].text, askers[0].text) == 0 && askers[i].text[0] != 0);
    }
    printf("%d threads: %s\n", THREADS, askers[0].text);

    /* Two threads use one generation: the second is refused, and may cancel. */
    OK(strix_session_new(model, &session, &error));
    OK(strix_session_ask(session, "Go on.", &options, &generation, &error));
    pthread_create(&threads[0], NULL, wait_long, generation);
    for (i = 0; i < 1000000 && status >= 0; i++) {
        StrixError *error = NULL;
        status = strix_generation_next(generation, &token, &error);
        if (status < 0) printf("two at once: %s\n", strix_error_message(error));
        strix_error_free(error);
        if (status == STRIX_STATUS_END) break;
    }
    CHECK(status == STRIX_STATUS_IN_USE || status == STRIX_STATUS_END);
    strix_generation_cancel(generation);
    pthread_join(threads[0], NULL);
    strix_generation_free(generation);
    strix_session_free(session);
}

/* Loading: progress, logs of its own, cancelled by either. */
typedef struct Loading {
    pthread_mutex_t lock;
    int messages, calls, cancel_at;
    uint64_t done, total;
    char first[256];
} Loading;

static void log_to(void *user, StrixLogLevel level, const char *target, const char *message) {
    Loading *loading = user;
    pthread_mutex_lock(&loading->lock);
    if (loading->messages++ == 0) snprintf(loading->first, sizeof loading->first, "%d %s: %s", (int)level, target, message);
    pthread_mutex_unlock(&loading->lock);
}

static int32_t watch(void *user, const StrixProgress *progress) {
    Loading *loading = user;
    loading->calls++;
    CHECK(progress->what[0] != 0 && progress->done >= loading->done && progress->done <= progress->total);
    loading->done = progress->done;
    loading->total = progress->total;
    return loading->cancel_at > 0 && loading->calls >= loading->cancel_at;
}

void check_loading(void) {
    Loading a = {.lock = PTHREAD_MUTEX_INITIALIZER}, b = {.lock = PTHREAD_MUTEX_INITIALIZER, .cancel_at = 5};
    StrixLog log = {.size = sizeof log, .callback = log_to, .user = &a, .level = STRIX_LOG_LEVEL_DEBUG};
    StrixLoadOptions options = {.size = sizeof options, .log = &log, .progress = watch, .progress_user = &a, .ctx = 256};
    StrixCheckpoint *checkpoint = NULL;
    StrixModel *model = load(&options);
    int heard = a.messages;
    printf("loaded: %d calls of progress, %llu bytes; %d messages, the first: %.80s\n", a.calls,
           (unsigned long long)a.total, a.messages, a.first);
    CHECK(a.calls > 5 && a.done == a.total && a.messages > 0);
    strix_model_free(model);

    OK(strix_checkpoint_nano(NULL, &checkpoint, &error));
    options.progress_user = &b;
    log.user = &b;
    FAILS(STRIX_STATUS_CANCELLED, "interrupted", strix_model_load(checkpoint, &options, &model, &error));
    CHECK(b.calls == 5 && model == NULL && a.messages == heard);
    options.progress = NULL;
    options.canceller = strix_canceller_new();
    strix_canceller_cancel(options.canceller);
    FAILS(STRIX_STATUS_CANCELLED, "interrupted", strix_model_load(checkpoint, &options, &model, &error));
    strix_canceller_reset(options.canceller);
    OK(strix_model_load(checkpoint, &options, &model, &error));
    strix_canceller_free((StrixCanceller *)options.canceller);
    options.canceller = NULL;
    strix_model_free(model);
    log.level = (StrixLogLevel)6;
    FAILS(STRIX_STATUS_OUT_OF_RANGE, "StrixLogLevel", strix_model_load(checkpoint, &options, &model, &error));
    strix_checkpoint_free(checkpoint);
}
