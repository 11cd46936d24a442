/* What the parts of the program share. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <string.h>
#include <strix.h>

extern int failures;

/* Prints what does not hold, and counts it. */
#define CHECK(condition)                                                                  \
    do {                                                                                  \
        if (!(condition)) {                                                               \
            printf("FAILED %s:%d: %s\n", __FILE__, __LINE__, #condition);                 \
            failures++;                                                                   \
        }                                                                                 \
    } while (0)

/* Checks that a call succeeds: it ends with `&error`. */
#define OK(call)                                                                          \
    do {                                                                                  \
        StrixError *error = NULL;                                                         \
        StrixStatus status = (call);                                                      \
        if (status != STRIX_STATUS_OK) {                                                  \
            printf("FAILED %s:%d: %s: %s: %s\n", __FILE__, __LINE__, #call,               \
                   strix_status_name(status), strix_error_message(error));                \
            failures++;                                                                   \
        }                                                                                 \
        CHECK((error != NULL) == (status < 0));                                           \
        strix_error_free(error);                                                          \
    } while (0)

/* Checks that a call fails in a way, with words in its message. It ends with `&error`. */
#define FAILS(expected, words, call)                                                      \
    do {                                                                                  \
        StrixError *error = NULL;                                                         \
        StrixStatus status = (call);                                                      \
        expect(status, error, expected, words, #call, __FILE__, __LINE__);                \
    } while (0)

void expect(StrixStatus status, StrixError *error, StrixStatus expected, const char *words, const char *call,
            const char *file, int line);

/* What the program is started with. */
typedef struct Given {
    const char *picture; /* A PNG of tests/nano/samples. */
    const char *folder;  /* An empty folder that may be written to. */
    const char *nano;    /* The folder of nano's files. */
    int quick;           /* Whether it runs under something slow. */
} Given;

StrixModel *load(const StrixLoadOptions *options);
StrixImage *open_picture(const char *path);
char *read_file(const char *path, size_t *len);
void ask_text(StrixSession *session, const char *question, const StrixAskOptions *options, char *text, size_t room);

void check_versions(void);
void check_devices(void);
void check_files(const Given *given);
void check_plans(void);
void check_loading(void);
void check_pictures(const Given *given);
void check_answers(StrixModel *model, const Given *given);
void check_options(StrixModel *model, const Given *given);
void check_tokens(StrixModel *model, const Given *given);
void check_threads(StrixModel *model, const Given *given);
void check_sessions(StrixModel *model, const Given *given);
void check_nulls(void);

#endif
