/* Files of a model: in a folder, in memory, from a function. */
#include <stdlib.h>

#include "check.h"

static const char *const names[] = {"config.json", "tokenizer.model", "model.safetensors", "generation_config.json",
                                    "preprocessor_config.json", "tokenizer_config.json"};
enum { NAMES = sizeof names / sizeof *names };

static void check_memory(const Given *given) {
    StrixNamedBytes files[NAMES];
    StrixCheckpoint *checkpoint = NULL;
    StrixCheckpointInfo info = {.size = sizeof info};
    char *bytes[NAMES], path[1024];
    size_t i;
    for (i = 0; i < NAMES; i++) {
        snprintf(path, sizeof path, "%s/%s", given->nano, names[i]);
        files[i].name = names[i];
        bytes[i] = read_file(path, &files[i].len);
        files[i].data = (const uint8_t *)bytes[i];
    }
    OK(strix_checkpoint_from_memory(files, NAMES, NULL, &checkpoint, &error));
    OK(strix_checkpoint_info(checkpoint, &info, &error));
    printf("from memory: %llu parameters\n", (unsigned long long)info.num_parameters);
    strix_checkpoint_free(checkpoint);
    FAILS(STRIX_STATUS_FILE, "config.json", strix_checkpoint_from_memory(files + 1, NAMES - 1, NULL, &checkpoint, &error));
    FAILS(STRIX_STATUS_FILE, "config.json", strix_checkpoint_from_memory(NULL, 0, NULL, &checkpoint, &error));
    FAILS(STRIX_STATUS_NULL_POINTER, "files", strix_checkpoint_from_memory(NULL, 1, NULL, &checkpoint, &error));
    files[2].len /= 2;
    FAILS(STRIX_STATUS_FILE, "model.safetensors", strix_checkpoint_from_memory(files, NAMES, NULL, &checkpoint, &error));
    files[0].name = NULL;
    FAILS(STRIX_STATUS_NULL_POINTER, "name", strix_checkpoint_from_memory(files, NAMES, NULL, &checkpoint, &error));
    for (i = 0; i < NAMES; i++) free(bytes[i]);
}

/* Files that a function provides, and how often they were let go. */
typedef struct Store {
    const Given *given;
    int provided, released, reads, fail_at;
    int in_memory; /* Whether bytes are given, and not read. */
} Store;

typedef struct Stored {
    Store *store;
    FILE *file;
    char *bytes;
} Stored;

static int32_t read_stored(void *user, uint64_t at, uint8_t *bytes, size_t len) {
    Stored *stored = user;
    stored->store->reads++;
    if (stored->store->fail_at > 0 && stored->store->reads >= stored->store->fail_at) return 5;
    return fseek(stored->file, (long)at, SEEK_SET) != 0 || fread(bytes, 1, len, stored->file) != len;
}

static void release_stored(void *user) {
    Stored *stored = user;
    stored->store->released++;
    fclose(stored->file);
    free(stored->bytes);
    free(stored);
}

static int32_t provide(void *user, const char *name, StrixFile *file) {
    Store *store = user;
    Stored *stored = calloc(1, sizeof *stored);
    char path[1024];
    size_t len;
    snprintf(path, sizeof path, "%s/%s", store->given->nano, name);
    stored->store = store;
    stored->file = fopen(path, "rb");
    if (stored->file == NULL) {
        free(stored);
        return 0;
    }
    fseek(stored->file, 0, SEEK_END);
    file->len = (uint64_t)ftell(stored->file);
    if (store->in_memory) {
        stored->bytes = read_file(path, &len);
        file->data = (const uint8_t *)stored->bytes;
        CHECK(len == file->len);
    }
    file->read = read_stored;
    file->release = release_stored;
    file->user = stored;
    store->provided++;
    CHECK(file->size == sizeof *file);
    return 1;
}

static int32_t provide_nothing(void *user, const char *name, StrixFile *file) {
    (void)name;
    (void)file;
    return *(int32_t *)user;
}

/* The same with bytes in place of a function that reads: of all that was opened, the session is freed last. */
static void check_provided_bytes(const Given *given) {
    Store store = {.given = given, .in_memory = 1};
    StrixCheckpoint *checkpoint = NULL;
    StrixModel *model = NULL;
    StrixSession *session = NULL;
    char text[256];
    OK(strix_checkpoint_from_provider(provide, &store, NULL, &checkpoint, &error));
    OK(strix_model_load(checkpoint, NULL, &model, &error));
    OK(strix_session_new(model, &session, &error));
    strix_checkpoint_free(checkpoint);
    strix_model_free(model);
    ask_text(session, "what color is the sky?", NULL, text, sizeof text);
    CHECK(text[0] != 0);
    strix_session_free(session);
    CHECK(store.reads == 0 && store.released == store.provided);
}

static void check_provider(const Given *given) {
    Store store = {.given = given};
    StrixCheckpoint *checkpoint = NULL;
    StrixModel *model = NULL;
    StrixSession *session = NULL;
    char text[256];
    int32_t code = 0;
    OK(strix_checkpoint_from_provider(provide, &store, NULL, &checkpoint, &error));
    if (!given->quick) {
        OK(strix_model_load(checkpoint, NULL, &model, &error));
        OK(strix_session_new(model, &session, &error));
        ask_text(session, "what color is the sky?", NULL, text, sizeof text);
        printf("from a provider: %s\n", text);
        CHECK(text[0] != 0);
        strix_session_free(session);
        strix_model_free(model);
    }
    strix_checkpoint_free(checkpoint);
    printf("provided %d files, read %d times, released %d\n", store.provided, store.reads, store.released);
    CHECK(store.provided >= 3 && store.released == store.provided);
    store.fail_at = store.reads = 1;
    FAILS(STRIX_STATUS_IO, "its code is 5", strix_checkpoint_from_provider(provide, &store, NULL, &checkpoint, &error));
    CHECK(store.released == store.provided);
    FAILS(STRIX_STATUS_FILE, "config.json", strix_checkpoint_from_provider(provide_nothing, &code, NULL, &checkpoint, &error));
    code = -3;
    FAILS(STRIX_STATUS_IO, "its code is -3", strix_checkpoint_from_provider(provide_nothing, &code, NULL, &checkpoint, &error));
    code = 1;
    FAILS(STRIX_STATUS_IO, "data and read", strix_checkpoint_from_provider(provide_nothing, &code, NULL, &checkpoint, &error));
    FAILS(STRIX_STATUS_NULL_POINTER, "provide", strix_checkpoint_from_provider(NULL, NULL, NULL, &checkpoint, &error));
    CHECK(checkpoint == NULL);
}

void check_files(const Given *given) {
    StrixCheckpoint *checkpoint = NULL;
    StrixCheckpointInfo info = {.size = sizeof info};
    StrixLoadOptions options = {.size = sizeof options, .ctx = 100};
    size_t positions = 0;
    FAILS(STRIX_STATUS_IO, "nowhere", strix_checkpoint_open("nowhere", NULL, NULL, &checkpoint, &error));
    FAILS(STRIX_STATUS_FILE, "config.json", strix_checkpoint_open(given->folder, NULL, NULL, &checkpoint, &error));
    FAILS(STRIX_STATUS_NULL_POINTER, "path", strix_checkpoint_open(NULL, NULL, NULL, &checkpoint, &error));
    FAILS(STRIX_STATUS_BAD_TEXT, "byte 1", strix_checkpoint_open("a\xff", NULL, NULL, &checkpoint, &error));
    FAILS(STRIX_STATUS_NULL_POINTER, "checkpoint", strix_checkpoint_nano(NULL, NULL, &error));
    CHECK(checkpoint == NULL);
    OK(strix_checkpoint_nano(NULL, &checkpoint, &error));
    OK(strix_checkpoint_info(checkpoint, &info, &error));
    printf("checkpoint: %llu parameters, %u layers, pictures of %u take %u positions\n",
           (unsigned long long)info.num_parameters, (unsigned)info.num_layers, (unsigned)info.image_size,
           (unsigned)info.positions_per_picture);
    CHECK(info.num_parameters > 1000000 && info.trained_ctx > 0);
    CHECK(strix_checkpoint_note(checkpoint, 0) == NULL);
    OK(strix_checkpoint_check_prompt(checkpoint, "USER: <|image|>What? ASSISTANT:", 1, NULL, &positions, &error));
    CHECK(positions > info.positions_per_picture);
    FAILS(STRIX_STATUS_PICTURE_MISMATCH, "picture",
          strix_checkpoint_check_prompt(checkpoint, "USER: What? ASSISTANT:", 1, NULL, &positions, &error));
    options.ctx = 8;
    FAILS(STRIX_STATUS_PROMPT_TOO_LONG, "holds 8",
          strix_checkpoint_check_prompt(checkpoint, "USER: <|image|>What? ASSISTANT:", 1, &options, NULL, &error));
    strix_checkpoint_free(checkpoint);
    check_memory(given);
    check_provider(given);
    if (!given->quick) check_provided_bytes(given);
}

