/* Asks for JSON of a schema, after a look at what the model would take. Usage: schema PICTURE QUESTION */
#include <stdio.h>
#include <strix.h>

static const char schema[] = "{\"type\": \"object\", \"properties\": {\"colour\": {\"enum\": [\"red\", \"green\", \"blue\"]}, "
                             "\"sure\": {\"type\": \"boolean\"}}, \"required\": [\"colour\", \"sure\"], "
                             "\"additionalProperties\": false}";

int main(int argc, char **argv) {
    StrixAskOptions options = {
        .size = sizeof options, .constraint = schema, .constraint_kind = STRIX_CONSTRAINT_KIND_JSON_SCHEMA};
    StrixPlanInfo needs = {.size = sizeof needs};
    StrixAnswerInfo info = {.size = sizeof info};
    StrixCheckpoint *checkpoint = NULL;
    StrixPlan *plan = NULL;
    StrixModel *model = NULL;
    StrixSession *session = NULL;
    StrixImage *picture = NULL;
    StrixGeneration *generation = NULL;
    StrixAnswer *answer = NULL;
    StrixError *error = NULL;
    int failed;

    if (argc < 3) {
        fprintf(stderr, "usage: schema PICTURE QUESTION\n");
        return 2;
    }
    failed = strix_checkpoint_nano(NULL, &checkpoint, &error) < 0 ||
             strix_plan_new(checkpoint, NULL, &plan, &error) < 0 || strix_plan_info(plan, &needs, &error) < 0 ||
             strix_model_load(checkpoint, NULL, &model, &error) < 0 ||
             strix_session_new(model, &session, &error) < 0 || strix_image_open(argv[1], NULL, &picture, &error) < 0 ||
             strix_session_add_image(session, picture, &error) < 0 ||
             strix_session_ask(session, argv[2], &options, &generation, &error) < 0 ||
             strix_generation_finish(generation, &answer, &error) < 0 || strix_answer_info(answer, &info, &error) < 0;
    if (failed) {
        fprintf(stderr, "%s\n", strix_error_message(error));
    } else if (info.finish != STRIX_FINISH_COMPLETE) {
        fprintf(stderr, "cut off before it was JSON: %s\n", info.text);
        failed = 1;
    } else {
        printf("%llu MiB of device memory: %s\n", (unsigned long long)(needs.device_bytes >> 20), info.text);
    }
    strix_error_free(error);
    strix_answer_free(answer);
    strix_generation_free(generation);
    strix_image_free(picture);
    strix_session_free(session);
    strix_model_free(model);
    strix_plan_free(plan);
    strix_checkpoint_free(checkpoint);
    return failed;
}
