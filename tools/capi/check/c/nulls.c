/* Every function without its handle, and without a place for its result. */
#include "check.h"

#define NO_HANDLE(name, call) FAILS(STRIX_STATUS_NULL_POINTER, name, call)

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
    size_t number;

    NO_HANDLE("devices", strix_devices_get(NULL, 0, &device, &error));
    NO_HANDLE("devices", strix_devices_list(NULL, NULL, &error));
    NO_HANDLE("device", strix_device_info(NULL, &device, &error));
    NO_HANDLE("device", strix_device_open(NULL, NULL, &error));
    NO_HANDLE("checkpoint", strix_checkpoint_info(NULL, &checkpoint, &error));
    NO_HANDLE("checkpoint", strix_checkpoint_check_prompt(NULL, "x", 0, NULL, NULL, &error));
    NO_HANDLE("checkpoint", strix_plan_new(NULL, NULL, &planned, &error));
    NO_HANDLE("plan", strix_plan_info(NULL, &plan, &error));
    NO_HANDLE("plan", strix_plan_part(NULL, 0, &part, &error));
    NO_HANDLE("checkpoint", strix_model_load(NULL, NULL, &loaded, &error));
    NO_HANDLE("model", strix_model_info(NULL, &model, &error));
    NO_HANDLE("model", strix_model_activity(NULL, &activity, &error));
    NO_HANDLE("model", strix_model_plan(NULL, &planned, &error));
    NO_HANDLE("model", strix_model_tokenize(NULL, "x", 0, NULL, 0, &number, &error));
    NO_HANDLE("model", strix_model_detokenize(NULL, NULL, 0, NULL, 0, &number, &error));
    NO_HANDLE("model", strix_model_encode(NULL, NULL, NULL, 0, &number, &error));
    NO_HANDLE("model", strix_session_new(NULL, &session, &error));
    NO_HANDLE("model", strix_session_restore(NULL, "x", &session, &error));
    NO_HANDLE("session", strix_session_fork(NULL, &session, &error));
    NO_HANDLE("picture", strix_session_add_image(NULL, NULL, &error));
    NO_HANDLE("picture", strix_session_supply_image(NULL, NULL, &error));
    NO_HANDLE("session", strix_session_ask(NULL, "x", NULL, &generation, &error));
    NO_HANDLE("question", strix_session_ask(NULL, NULL, NULL, &generation, &error));
    NO_HANDLE("generation", strix_session_ask(NULL, "x", NULL, NULL, &error));
    NO_HANDLE("session", strix_session_complete(NULL, "x", NULL, &generation, &error));
    NO_HANDLE("session", strix_session_complete_ids(NULL, NULL, 0, NULL, &generation, &error));
    NO_HANDLE("session", strix_session_retry(NULL, NULL, &generation, &error));
    NO_HANDLE("session", strix_session_resume(NULL, 1, &generation, &error));
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
    NO_HANDLE("generation", strix_generation_finish(NULL, &whole, &error));
    NO_HANDLE("generation", strix_generation_listen(NULL, NULL, NULL, NULL, &error));
    NO_HANDLE("answer", strix_answer_info(NULL, &answer, &error));
    NO_HANDLE("answer", strix_answer_token(NULL, 0, &token, &error));
    NO_HANDLE("picture", strix_image_size(NULL, NULL, NULL, &error));
    NO_HANDLE("of", strix_error_remedy(NULL, 0, &remedy, &error));

    /* Without a place for an error, the code is told all the same. */
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
