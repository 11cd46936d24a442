/* Every function without its handle, and without a place for its result. */
#include "check.h"

#define NO_HANDLE(name, call) FAILS(STRIX_STATUS_NULL_POINTER, name, call)

/* Checks the same of a call with a place for a handle, which holds something else before. */
#define NO_RESULT(name, place, call)                                                      \
    do {                                                                                  \
        place = (void *)1;                                                                \
        NO_HANDLE(name, call);                                                            \
        CHECK(place == NULL);                                                             \
    } while (0)

void check_nulls(void) {
    StrixDeviceInfo device = {.size = sizeof device};
    StrixCheckpointInfo checkpoint = {.size = sizeof checkpoint};
    StrixPlanInfo plan = {.size = sizeof plan};
    StrixPlanPart part = {.size = sizeof part};
    StrixModelInfo model = {.size = sizeof model};
    StrixActivity activity = {.size = sizeof activity};
    StrixTurn turn = {.size = sizeof turn};
    StrixUsage usage = {.size = sizeof usage};
    StrixToken token = {.size = sizeof token};
    StrixAnswerInfo answer = {.size = sizeof answer};
    StrixRemedy remedy = {.size = sizeof remedy};
    StrixSession *session;
    StrixGeneration *generation;
    StrixAnswer *whole;
    StrixPlan *planned;
    StrixModel *loaded;
    StrixCheckpoint *opened = NULL;
    StrixDevice *found;
    StrixDevices *list;
    StrixImage *picture;
    StrixCanceller *canceller;
    StrixDeviceOptions unset = {.size = 0};
    StrixImageOptions no_size = {.size = 0};
    size_t number;

    NO_HANDLE("devices", strix_devices_get(NULL, 0, &device, &error));
    NO_HANDLE("devices", strix_devices_list(NULL, NULL, &error));
    NO_HANDLE("device", strix_device_info(NULL, &device, &error));
    NO_HANDLE("device", strix_device_open(NULL, NULL, &error));
    NO_HANDLE("checkpoint", strix_checkpoint_info(NULL, &checkpoint, &error));
    NO_HANDLE("checkpoint", strix_checkpoint_check_prompt(NULL, "x", 0, NULL, NULL, &error));
    NO_RESULT("checkpoint", planned, strix_plan_new(NULL, NULL, &planned, &error));
    NO_HANDLE("plan", strix_plan_info(NULL, &plan, &error));
    NO_HANDLE("plan", strix_plan_part(NULL, 0, &part, &error));
    NO_RESULT("checkpoint", loaded, strix_model_load(NULL, NULL, &loaded, &error));
    NO_HANDLE("model", strix_model_info(NULL, &model, &error));
    NO_HANDLE("model", strix_model_activity(NULL, &activity, &error));
    NO_RESULT("model", planned, strix_model_plan(NULL, &planned, &error));
    NO_HANDLE("model", strix_model_tokenize(NULL, "x", 0, NULL, 0, &number, &error));
    NO_HANDLE("model", strix_model_detokenize(NULL, NULL, 0, NULL, 0, &number, &error));
    NO_HANDLE("model", strix_model_encode(NULL, NULL, NULL, 0, &number, &error));
    NO_RESULT("model", session, strix_session_new(NULL, &session, &error));
    NO_RESULT("model", session, strix_session_restore(NULL, "x", &session, &error));
    NO_RESULT("session", session, strix_session_fork(NULL, &session, &error));
    NO_HANDLE("picture", strix_session_add_image(NULL, NULL, &error));
    NO_HANDLE("picture", strix_session_supply_image(NULL, NULL, &error));
    NO_RESULT("session", generation, strix_session_ask(NULL, "x", NULL, &generation, &error));
    NO_RESULT("question", generation, strix_session_ask(NULL, NULL, NULL, &generation, &error));
    NO_HANDLE("generation", strix_session_ask(NULL, "x", NULL, NULL, &error));
    NO_RESULT("prompt", generation, strix_session_complete(NULL, NULL, NULL, &generation, &error));
    NO_RESULT("ids", generation, strix_session_complete_ids(NULL, NULL, 1, NULL, &generation, &error));
    NO_RESULT("session", generation, strix_session_complete(NULL, "x", NULL, &generation, &error));
    NO_RESULT("session", generation, strix_session_complete_ids(NULL, NULL, 0, NULL, &generation, &error));
    NO_RESULT("session", generation, strix_session_retry(NULL, NULL, &generation, &error));
    NO_RESULT("session", generation, strix_session_resume(NULL, 1, &generation, &error));
    NO_HANDLE("session", strix_session_logits(NULL, NULL, 0, NULL, 0, &number, &error));
    NO_HANDLE("session", strix_session_save(NULL, "x", NULL, &error));
    NO_HANDLE("session", strix_session_absent_images(NULL, &number, &error));
    NO_HANDLE("session", strix_session_num_turns(NULL, &number, &error));
    NO_HANDLE("session", strix_session_turn(NULL, 0, &turn, &error));
    NO_HANDLE("session", strix_session_undo(NULL, &error));
    NO_HANDLE("session", strix_session_reset(NULL, &error));
    NO_HANDLE("session", strix_session_drop_waiting(NULL, &error));
    NO_HANDLE("session", strix_session_set_system(NULL, NULL, &error));
    NO_HANDLE("session", strix_session_set_template(NULL, STRIX_TEMPLATE_PLAIN, &error));
    NO_HANDLE("session", strix_session_usage(NULL, &usage, &error));
    NO_HANDLE("generation", strix_generation_next(NULL, &token, &error));
    NO_RESULT("generation", whole, strix_generation_finish(NULL, &whole, &error));
    NO_HANDLE("generation", strix_generation_listen(NULL, NULL, NULL, NULL, &error));
    NO_RESULT("generation", canceller, strix_generation_listen(NULL, NULL, NULL, &canceller, &error));
    NO_RESULT("path", opened, strix_checkpoint_open(NULL, NULL, NULL, &opened, &error));
    NO_RESULT("files", opened, strix_checkpoint_from_memory(NULL, 1, NULL, &opened, &error));
    NO_RESULT("provide", opened, strix_checkpoint_from_provider(NULL, NULL, NULL, &opened, &error));
    NO_RESULT("path", picture, strix_image_open(NULL, NULL, &picture, &error));
    NO_RESULT("bytes", picture, strix_image_decode(NULL, 1, NULL, &picture, &error));
    NO_RESULT("pixels", picture, strix_image_from_pixels(NULL, NULL, &picture, &error));
    NO_HANDLE("answer", strix_answer_info(NULL, &answer, &error));
    NO_HANDLE("answer", strix_answer_token(NULL, 0, &token, &error));
    NO_HANDLE("picture", strix_image_size(NULL, NULL, NULL, &error));
    NO_HANDLE("of", strix_error_remedy(NULL, 0, &remedy, &error));

    /* Nor is it left as it was where a struct is refused. */
    found = (void *)1, list = (void *)1, picture = (void *)1;
    FAILS(STRIX_STATUS_STRUCT_SIZE, "sizeof(StrixDeviceOptions)", strix_device_open(&unset, &found, &error));
    FAILS(STRIX_STATUS_STRUCT_SIZE, "sizeof(StrixDeviceOptions)", strix_devices_list(&unset, &list, &error));
    FAILS(STRIX_STATUS_STRUCT_SIZE, "sizeof(StrixImageOptions)", strix_image_open("x", &no_size, &picture, &error));
    CHECK(found == NULL && list == NULL && picture == NULL);

    /* Without a place for an error, the code is told all the same. */
    session = (void *)1;
    CHECK(strix_session_new(NULL, &session, NULL) == STRIX_STATUS_NULL_POINTER && session == NULL);

    OK(strix_checkpoint_nano(NULL, &opened, &error));
    NO_HANDLE("StrixCheckpointInfo", strix_checkpoint_info(opened, NULL, &error));
    checkpoint.size = 1;
    FAILS(STRIX_STATUS_STRUCT_SIZE, "sizeof(StrixCheckpointInfo)", strix_checkpoint_info(opened, &checkpoint, &error));
    strix_checkpoint_free(opened);

    CHECK(strix_devices_count(NULL) == 0 && strix_error_num_remedies(NULL) == 0);
    CHECK(strix_checkpoint_note(NULL, 0) == NULL && strix_plan_note(NULL, 0) == NULL && strix_model_note(NULL, 0) == NULL);
    CHECK(strix_model_share(NULL) == NULL && strix_generation_canceller(NULL) == NULL);
    CHECK(strix_canceller_is_cancelled(NULL) == 0);
    strix_canceller_cancel(NULL);
    strix_canceller_reset(NULL);
    strix_generation_cancel(NULL);
    strix_error_free(NULL);
    strix_devices_free(NULL);
    strix_device_free(NULL);
    strix_image_free(NULL);
    strix_checkpoint_free(NULL);
    strix_plan_free(NULL);
    strix_model_free(NULL);
    strix_session_free(NULL);
    strix_generation_free(NULL);
    strix_answer_free(NULL);
    strix_canceller_free(NULL);
}
