/* Conversations: their turns, in files, forked. */
#include <stdlib.h>

#include "check.h"

static void path_in(const Given *given, const char *name, char *path, size_t room) {
    snprintf(path, room, "%s/%s", given->folder, name);
}

void check_sessions(StrixModel *model, const Given *given) {
    StrixImage *picture = open_picture(given->picture);
    StrixSession *session = NULL, *restored = NULL, *fork = NULL;
    StrixGeneration *generation = NULL;
    StrixSaveOptions save = {.size = sizeof save};
    StrixTurn turn = {.size = sizeof turn};
    StrixUsage usage = {.size = sizeof usage};
    StrixActivity activity = {.size = sizeof activity};
    StrixPlan *plan = NULL;
    StrixModel *other = NULL;
    char path[1024], first[512], then[512], again[512];
    size_t number = 0, len;
    char *bytes;
    FILE *file;
    OK(strix_session_new(model, &session, &error));
    OK(strix_session_set_template(session, STRIX_TEMPLATE_MPLUG_OWL2, &error));
    FAILS(STRIX_STATUS_OUT_OF_RANGE, "StrixTemplate is -1",
          strix_session_set_template(session, (StrixTemplate)-1, &error));
    OK(strix_session_set_system(session, NULL, &error));
    OK(strix_session_add_image(session, picture, &error));
    OK(strix_session_drop_waiting(session, &error));
    OK(strix_session_add_image(session, picture, &error));
    ask_text(session, "What is in the picture?", NULL, first, sizeof first);

    path_in(given, "talk.session", path, sizeof path);
    OK(strix_session_save(session, path, NULL, &error));
    OK(strix_session_fork(session, &fork, &error));
    ask_text(session, "What colour is it?", NULL, then, sizeof then);
    ask_text(fork, "What colour is it?", NULL, again, sizeof again);
    CHECK(strcmp(then, again) == 0);
    OK(strix_session_restore(model, path, &restored, &error));
    ask_text(restored, "What colour is it?", NULL, again, sizeof again);
    printf("restored: %s, as before: %s\n", again, then);
    CHECK(strcmp(then, again) == 0);
    OK(strix_session_num_turns(restored, &number, &error));
    OK(strix_session_turn(restored, 0, &turn, &error));
    printf("turn 0 of %zu: %s: %s, %zu picture\n", number, turn.question, turn.reply, turn.num_pictures);
    CHECK(number == 2 && strcmp(turn.reply, first) == 0 && turn.num_pictures == 1);
    FAILS(STRIX_STATUS_OUT_OF_RANGE, "turns", strix_session_turn(restored, 2, &turn, &error));
    OK(strix_session_usage(restored, &usage, &error));
    CHECK(usage.positions > 0 && usage.pictures == 1 && usage.cache_pages > 0);
    OK(strix_session_undo(restored, &error));
    OK(strix_session_num_turns(restored, &number, &error));
    CHECK(number == 1);
    strix_session_free(restored);

    save.without_pictures = 1;
    save.with_cache = 1;
    OK(strix_session_save(session, path, &save, &error));
    /* The model still has the picture; another has it not. */
    OK(strix_session_restore(model, path, &restored, &error));
    OK(strix_session_absent_images(restored, &number, &error));
    CHECK(number == 0);
    FAILS(STRIX_STATUS_IMAGE, "none of those", strix_session_supply_image(restored, picture, &error));
    FAILS(STRIX_STATUS_NULL_POINTER, "number", strix_session_absent_images(restored, NULL, &error));
    strix_session_free(restored);
    if (!given->quick) {
        other = load(NULL);
        OK(strix_session_restore(other, path, &restored, &error));
        strix_model_free(other);
        OK(strix_session_absent_images(restored, &number, &error));
        printf("without its pictures: %zu absent\n", number);
        CHECK(number == 1);
        FAILS(STRIX_STATUS_PICTURE_ABSENT, "picture 0", strix_session_ask(restored, "And?", NULL, &generation, &error));
        OK(strix_session_supply_image(restored, picture, &error));
        ask_text(restored, "What is in the picture?", NULL, again, sizeof again);
        strix_session_free(restored);
    }

    /* A damaged file, none, one that cannot be written. */
    bytes = read_file(path, &len);
    CHECK(len > 1000);
    bytes[len - 1] = (char)(bytes[len - 1] ^ 1);
    file = fopen(path, "wb");
    if (file != NULL) {
        fwrite(bytes, 1, len, file);
        fclose(file);
    }
    free(bytes);
    FAILS(STRIX_STATUS_FILE, "damaged", strix_session_restore(model, path, &restored, &error));
    FAILS(STRIX_STATUS_FILE, "no saved session", strix_session_restore(model, given->picture, &restored, &error));
    FAILS(STRIX_STATUS_IO, "nowhere", strix_session_restore(model, "nowhere", &restored, &error));
    CHECK(restored == NULL);
    FAILS(STRIX_STATUS_IO, "nowhere/x", strix_session_save(session, "nowhere/x", NULL, &error));
    OK(strix_session_ask(session, "And?", NULL, &generation, &error));
    FAILS(STRIX_STATUS_BUSY, "still being answered", strix_session_save(session, path, NULL, &error));
    strix_generation_free(generation);
    remove(path);

    OK(strix_model_activity(model, &activity, &error));
    CHECK(activity.encoded_pictures > 0 && activity.kv_positions > 0);
    OK(strix_model_plan(model, &plan, &error));
    strix_plan_free(plan);
    strix_session_free(session);
    strix_session_free(fork);
    strix_image_free(picture);
}
