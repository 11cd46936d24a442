/* Answers: token by token, whole, by callback, within a schema, with options of every kind. */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "check.h"

#define QUESTION "What is in the picture?"

/* Sums the probabilities of the likeliest tokens of one that was just taken. */
static double likely(const StrixToken *token) {
    double sum = 0;
    size_t i;
    for (i = 0; i < token->num_top; i++) sum += exp(token->top[i].log_prob);
    return sum;
}

void check_answers(StrixModel *model, const Given *given) {
    StrixImage *picture = open_picture(given->picture);
    StrixSession *session = NULL;
    StrixGeneration *generation = NULL, *second = NULL;
    StrixAnswer *answer = NULL;
    StrixAskOptions options = {.size = sizeof options, .log_probs = 1, .top_log_probs = 3};
    StrixToken token = {.size = sizeof token}, again = {.size = sizeof again}, unset = {.size = 0};
    StrixAnswerInfo info = {.size = sizeof info};
    StrixStatus status;
    StrixError *failed = NULL;
    char text[512] = "";
    size_t number = 0;
    FAILS(STRIX_STATUS_NULL_POINTER, "session", strix_session_new(model, NULL, &error));
    OK(strix_session_new(model, &session, &error));
    OK(strix_session_add_image(session, picture, &error));
    FAILS(STRIX_STATUS_BAD_TEXT, "question", strix_session_ask(session, "\xc3(", NULL, &generation, &error));
    FAILS(STRIX_STATUS_NOTHING_TO_RESUME, "no answer", strix_session_resume(session, 4, &generation, &error));
    FAILS(STRIX_STATUS_PROMPT, "", strix_session_retry(session, NULL, &generation, &error));
    FAILS(STRIX_STATUS_PICTURE_MISMATCH, "",
          strix_session_complete(session, "no place", &options, &generation, &error));

    OK(strix_session_ask(session, QUESTION, &options, &generation, &error));
    FAILS(STRIX_STATUS_BUSY, "still being answered", strix_session_ask(session, "And?", NULL, &second, &error));
    /* What has no place for a token takes none. */
    FAILS(STRIX_STATUS_NULL_POINTER, "StrixToken", strix_generation_next(generation, NULL, &error));
    FAILS(STRIX_STATUS_STRUCT_SIZE, "sizeof(StrixToken)", strix_generation_next(generation, &unset, &error));
    while ((status = strix_generation_next(generation, &token, &failed)) == STRIX_STATUS_OK) {
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%s", token.text);
        CHECK(token.log_prob <= 0 && token.num_top == 3 && token.top[0].log_prob >= token.log_prob);
        CHECK(likely(&token) > 0 && likely(&token) < 1.0001);
        CHECK(strlen(token.text) == token.text_len);
    }
    CHECK(status == STRIX_STATUS_END && failed == NULL);
    CHECK(strix_generation_next(generation, &token, NULL) == STRIX_STATUS_END);
    printf("streamed: %s\n", text);
    OK(strix_generation_finish(generation, &answer, &error));
    OK(strix_answer_info(answer, &info, &error));
    printf("answer: %s (%zu tokens, ended by %d, %.3f s to the first)\n", info.text, info.num_tokens, (int)info.finish,
           info.first_token_seconds);
    CHECK(strcmp(info.text, text) == 0 && info.finish == STRIX_FINISH_EOS && info.num_tokens > 2);
    OK(strix_answer_token(answer, 0, &again, &error));
    CHECK(again.id == info.ids[0] && again.num_top == 3);
    FAILS(STRIX_STATUS_OUT_OF_RANGE, "tokens", strix_answer_token(answer, info.num_tokens, &again, &error));
    strix_answer_free(answer);
    FAILS(STRIX_STATUS_NOTHING_TO_RESUME, "taken already", strix_generation_finish(generation, &answer, &error));
    CHECK(answer == NULL);
    FAILS(STRIX_STATUS_NOTHING_TO_RESUME, "taken already", strix_generation_next(generation, &token, &error));
    strix_generation_free(generation);

    /* A second question, whose struct is of an earlier version: only its size is known. */
    options.size = sizeof(size_t);
    ask_text(session, "What colour is it?", &options, text, sizeof text);
    printf("then: %s\n", text);
    OK(strix_session_num_turns(session, &number, &error));
    CHECK(number == 2);
    strix_image_free(picture);
    strix_session_free(session);
}

/* What samplers write to: they are called on the model's thread. */
static pthread_mutex_t called = PTHREAD_MUTEX_INITIALIZER;

/* Takes the second likeliest of three, and notes what it was given. */
static uint32_t second_best(void *user, const StrixLogit *tokens, size_t num_tokens) {
    int *calls = user;
    pthread_mutex_lock(&called);
    CHECK(num_tokens == 3 && tokens[0].logit >= tokens[1].logit && tokens[1].logit >= tokens[2].logit);
    ++*calls;
    pthread_mutex_unlock(&called);
    return tokens[1].token;
}

/* Takes a token that it was not given. */
static uint32_t none_of_them(void *user, const StrixLogit *tokens, size_t num_tokens) {
    size_t *seen = user;
    (void)tokens;
    pthread_mutex_lock(&called);
    *seen = num_tokens;
    pthread_mutex_unlock(&called);
    return 1000000;
}

static void check_sampler(StrixSession *session, size_t vocab_size) {
    StrixAskOptions options = {.size = sizeof options, .max_tokens = 4, .sampler = second_best, .sampler_candidates = 3};
    StrixGeneration *generation = NULL;
    StrixAnswer *answer = NULL;
    char text[256];
    int calls;
    size_t seen;
    /* ThreadSanitizer sees this lock, and not those of the library, which hands calls to the model's thread. */
    pthread_mutex_lock(&called);
    calls = 0;
    seen = 0;
    pthread_mutex_unlock(&called);
    options.sampler_user = &calls;
    ask_text(session, QUESTION, &options, text, sizeof text);
    pthread_mutex_lock(&called);
    printf("second best: %s (%d calls)\n", text, calls);
    CHECK(calls > 0);
    pthread_mutex_unlock(&called);
    options.sampler = none_of_them;
    options.sampler_user = &seen;
    options.sampler_candidates = 0;
    OK(strix_session_ask(session, QUESTION, &options, &generation, &error));
    FAILS(STRIX_STATUS_UNKNOWN_TOKEN, "1000000", strix_generation_finish(generation, &answer, &error));
    pthread_mutex_lock(&called);
    CHECK(seen == vocab_size);
    pthread_mutex_unlock(&called);
    strix_generation_free(generation);
}

void check_options(StrixModel *model, const Given *given) {
    StrixImage *picture = open_picture(given->picture);
    StrixSession *session = NULL;
    StrixGeneration *generation = NULL;
    StrixAnswer *answer = NULL;
    StrixAnswerInfo info = {.size = sizeof info};
    StrixAskOptions options = {.size = sizeof options};
    StrixModelInfo sizes = {.size = sizeof sizes};
    StrixLogitBias bias = {1000000, -INFINITY};
    const char *stop[2] = {"star", "circle"}, *empty = "";
    char text[512];
    OK(strix_session_new(model, &session, &error));
    OK(strix_session_add_image(session, picture, &error));

    options.constraint_kind = STRIX_CONSTRAINT_KIND_JSON_SCHEMA;
    FAILS(STRIX_STATUS_NULL_POINTER, "constraint", strix_session_ask(session, QUESTION, &options, &generation, &error));
    options.constraint = "{\"type\": 5}";
    FAILS(STRIX_STATUS_CONSTRAINT, "JSON schema", strix_session_ask(session, QUESTION, &options, &generation, &error));
    options.constraint = "{\"type\": \"object\", \"properties\": {\"colour\": {\"enum\": [\"red\", \"blue\"]}}, "
                         "\"required\": [\"colour\"], \"additionalProperties\": false}";
    ask_text(session, "What colour?", &options, text, sizeof text);
    printf("by schema: %s\n", text);
    CHECK(strstr(text, "\"colour\"") != NULL && (strstr(text, "red") || strstr(text, "blue")));
    options.constraint_kind = STRIX_CONSTRAINT_KIND_REGEX;
    options.constraint = "(";
    FAILS(STRIX_STATUS_CONSTRAINT, "regex", strix_session_ask(session, QUESTION, &options, &generation, &error));
    options.constraint = "(yes|no)";
    ask_text(session, "Is it red?", &options, text, sizeof text);
    printf("by regex: %s\n", text);
    CHECK(strcmp(text, "yes") == 0 || strcmp(text, "no") == 0);
    options.constraint_kind = STRIX_CONSTRAINT_KIND_LARK;
    options.constraint = "start: \"a\" | \"b\"";
    ask_text(session, "a or b?", &options, text, sizeof text);
    CHECK(strlen(text) == 1);
    options.constraint_kind = (StrixConstraintKind)9;
    FAILS(STRIX_STATUS_OUT_OF_RANGE, "StrixConstraintKind is 9",
          strix_session_ask(session, QUESTION, &options, &generation, &error));
    options.constraint_kind = STRIX_CONSTRAINT_KIND_NONE;

    options.top_p = 2;
    FAILS(STRIX_STATUS_OUT_OF_RANGE, "top_p is 2", strix_session_ask(session, QUESTION, &options, &generation, &error));
    options.top_p = 0;
    options.top_k = -2;
    FAILS(STRIX_STATUS_OUT_OF_RANGE, "top_k is -2", strix_session_ask(session, QUESTION, &options, &generation, &error));
    options.top_k = -1;
    options.temperature = NAN;
    FAILS(STRIX_STATUS_OUT_OF_RANGE, "temperature", strix_session_ask(session, QUESTION, &options, &generation, &error));
    options.temperature = 0.7f;
    options.seed = 5;
    options.logit_bias = &bias;
    options.num_logit_bias = 1;
    FAILS(STRIX_STATUS_UNKNOWN_TOKEN, "1000000", strix_session_ask(session, QUESTION, &options, &generation, &error));
    bias.token = 3;
    options.stop = &empty;
    options.num_stop = 1;
    FAILS(STRIX_STATUS_OUT_OF_RANGE, "stop string", strix_session_ask(session, QUESTION, &options, &generation, &error));
    options.stop = NULL;
    FAILS(STRIX_STATUS_NULL_POINTER, "stop", strix_session_ask(session, QUESTION, &options, &generation, &error));
    options.stop = stop;
    options.num_stop = 2;
    options.placed = 1;
    FAILS(STRIX_STATUS_PICTURE_MISMATCH, "", strix_session_ask(session, "<|image|> <|image|>?", &options, &generation, &error));
    options.placed = 0;

    OK(strix_session_reset(session, &error));
    OK(strix_session_add_image(session, picture, &error));
    options.temperature = 0;
    OK(strix_session_ask(session, QUESTION, &options, &generation, &error));
    OK(strix_generation_finish(generation, &answer, &error));
    OK(strix_answer_info(answer, &info, &error));
    printf("stopped: %s, by %s\n", info.text, info.stop ? info.stop : "nothing");
    CHECK(info.finish == STRIX_FINISH_STOP && info.stop != NULL && strcmp(info.stop, "circle") == 0);
    strix_answer_free(answer);
    strix_generation_free(generation);

    options.num_stop = 0;
    options.max_tokens = 2;
    OK(strix_session_retry(session, &options, &generation, &error));
    OK(strix_generation_finish(generation, &answer, &error));
    OK(strix_answer_info(answer, &info, &error));
    CHECK(info.finish == STRIX_FINISH_MAX_TOKENS && info.num_tokens == 2);
    strix_answer_free(answer);
    strix_generation_free(generation);
    OK(strix_session_resume(session, 100, &generation, &error));
    OK(strix_generation_finish(generation, &answer, &error));
    OK(strix_answer_info(answer, &info, &error));
    printf("resumed: %s\n", info.text);
    strix_answer_free(answer);
    strix_generation_free(generation);
    OK(strix_model_info(model, &sizes, &error));
    check_sampler(session, sizes.vocab_size);
    strix_image_free(picture);
    strix_session_free(session);
}

void check_tokens(StrixModel *model, const Given *given) {
    StrixImage *picture = open_picture(given->picture);
    StrixSession *session = NULL;
    StrixGeneration *generation = NULL;
    StrixAnswer *answer = NULL;
    StrixAskOptions options = {.size = sizeof options, .max_tokens = 1, .log_probs = 1};
    StrixToken token = {.size = sizeof token};
    StrixModelInfo info = {.size = sizeof info};
    uint32_t ids[64] = {0}, unknown = 1000000;
    size_t number = 0, best = 0, i;
    char text[64];
    float *logits, *rows;
    double sum = 0;
    OK(strix_model_info(model, &info, &error));
    OK(strix_model_tokenize(model, "a red star", 1, ids + 1, 63, &number, &error));
    printf("tokens: %zu of \"a red star\"\n", number);
    CHECK(number > 1 && number < 60);
    OK(strix_model_detokenize(model, ids + 1, number, (uint8_t *)text, sizeof text, &i, &error));
    CHECK(i == 10 && memcmp(text, "a red star", 10) == 0);
    OK(strix_model_tokenize(model, "a red star", 1, NULL, 0, &i, &error));
    CHECK(i == number);
    FAILS(STRIX_STATUS_NULL_POINTER, "memory", strix_model_tokenize(model, "a", 1, NULL, 4, &i, &error));
    FAILS(STRIX_STATUS_UNKNOWN_TOKEN, "1000000",
          strix_model_detokenize(model, &unknown, 1, (uint8_t *)text, sizeof text, &i, &error));

    ids[0] = STRIX_PICTURE;
    logits = calloc(info.vocab_size, sizeof *logits);
    OK(strix_session_new(model, &session, &error));
    FAILS(STRIX_STATUS_PICTURE_MISMATCH, "",
          strix_session_logits(session, ids, number + 1, logits, info.vocab_size, &i, &error));
    OK(strix_session_add_image(session, picture, &error));
    FAILS(STRIX_STATUS_UNKNOWN_TOKEN, "1000000",
          strix_session_complete_ids(session, &unknown, 1, &options, &generation, &error));
    OK(strix_session_logits(session, ids, number + 1, logits, info.vocab_size, &i, &error));
    CHECK(i == info.vocab_size);
    for (i = 0; i < info.vocab_size; i++) {
        if (logits[i] > logits[best]) best = i;
    }
    for (i = 0; i < info.vocab_size; i++) sum += exp(logits[i] - logits[best]);
    OK(strix_session_complete_ids(session, ids, number + 1, &options, &generation, &error));
    OK(strix_generation_finish(generation, &answer, &error));
    OK(strix_answer_token(answer, 0, &token, &error));
    printf("likeliest token: %zu, of log-probability %.4f and %.4f\n", best, -log(sum), token.log_prob);
    CHECK(token.id == best && fabs(token.log_prob + log(sum)) < 1e-3);
    strix_answer_free(answer);
    strix_generation_free(generation);
    strix_session_free(session);

    number = (size_t)info.positions_per_picture * info.hidden_size;
    rows = calloc(number, sizeof *rows);
    OK(strix_model_encode(model, picture, rows, number, &i, &error));
    CHECK(i == number && isfinite(rows[0]));
    FAILS(STRIX_STATUS_NULL_POINTER, "picture", strix_model_encode(model, NULL, rows, number, &i, &error));
    free(logits);
    free(rows);
    strix_image_free(picture);
}
