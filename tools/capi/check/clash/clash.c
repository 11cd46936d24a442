/* An app with functions of names that libstrix.a has within: of libjpeg, of llguidance, of Rust. Usage: clash JPEG */
#include <stdio.h>
#include <stdlib.h>
#include <strix.h>

#define OWN(name)                                    \
    void name(void);                                 \
    void name(void) {                                \
        fprintf(stderr, "the app's " #name "\n");    \
        abort();                                     \
    }

OWN(jpeg_CreateDecompress)
OWN(jpeg_read_header)
OWN(jpeg_start_decompress)
OWN(jpeg_read_scanlines)
OWN(jpeg_std_error)
OWN(llg_cancel)
OWN(llg_new_constraint)
OWN(rust_eh_personality)
OWN(rust_begin_unwind)

int main(int argc, char **argv) {
    StrixImage *picture = NULL;
    StrixError *error = NULL;
    uint32_t width = 0, height = 0;
    if (argc < 2 || strix_image_open(argv[1], NULL, &picture, &error) < 0) {
        fprintf(stderr, "%s\n", strix_error_message(error));
        return 1;
    }
    strix_image_size(picture, &width, &height, NULL);
    printf("a JPEG of %u x %u, beside the app's own jpeg_ and rust_ functions\n", (unsigned)width, (unsigned)height);
    strix_image_free(picture);
    return 0;
}
