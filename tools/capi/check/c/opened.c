/* Devices, plans and pictures: what needs no model. */
#include <math.h>
#include <stdlib.h>

#include "check.h"

void check_devices(void) {
    StrixDevices *devices = NULL;
    StrixDevice *device = NULL;
    StrixDeviceOptions options = {.size = sizeof options};
    StrixDeviceInfo info = {.size = sizeof info};
    size_t i, chosen = 0;
    setenv("STRIX_FAMILY", "of another kind", 1);
    FAILS(STRIX_STATUS_OUT_OF_RANGE, "of another kind", strix_device_open(NULL, &device, &error));
    unsetenv("STRIX_FAMILY");
    OK(strix_devices_list(NULL, &devices, &error));
    for (i = 0; i < strix_devices_count(devices); i++) {
        OK(strix_devices_get(devices, i, &info, &error));
        printf("device %zu: %s (%s), backend %d, type %d, %llu MiB%s%s\n", i, info.name, info.driver, (int)info.backend,
               (int)info.device_type, (unsigned long long)(info.memory >> 20), info.chosen ? ", chosen" : "",
               info.missing ? info.missing : "");
        chosen += info.chosen;
    }
    CHECK(chosen == 1);
    FAILS(STRIX_STATUS_OUT_OF_RANGE, "adapters", strix_devices_get(devices, i, &info, &error));
    strix_devices_free(devices);

    options.adapter = "no such adapter";
    FAILS(STRIX_STATUS_NO_ADAPTER, "no such adapter", strix_device_open(&options, &device, &error));
    CHECK(device == NULL);
    options.adapter = "\xff";
    FAILS(STRIX_STATUS_BAD_TEXT, "adapter", strix_device_open(&options, &device, &error));
    options.size = 0;
    FAILS(STRIX_STATUS_STRUCT_SIZE, "sizeof(StrixDeviceOptions)", strix_device_open(&options, &device, &error));
    OK(strix_device_open(NULL, &device, &error));
    OK(strix_device_info(device, &info, &error));
    printf("opened: %s\n", info.name);
    CHECK(info.chosen == 1 && info.max_binding > 0 && info.missing == NULL);
    strix_device_free(device);
}

void check_plans(void) {
    StrixCheckpoint *checkpoint = NULL;
    StrixPlan *plan = NULL;
    StrixDevice *device = NULL;
    StrixPlanInfo info = {.size = sizeof info};
    StrixPlanPart part = {.size = sizeof part};
    StrixLoadOptions options = {.size = sizeof options};
    StrixRemedy remedy = {.size = sizeof remedy};
    StrixError *refused = NULL;
    size_t i;
    /* As a program of a later version has it, and of an earlier one. */
    struct {
        StrixLoadOptions known;
        uint64_t later;
    } larger;
    OK(strix_checkpoint_nano(NULL, &checkpoint, &error));
    OK(strix_plan_new(checkpoint, NULL, &plan, &error));
    /* Further plans are for one device, which is not opened each time. */
    OK(strix_device_open(NULL, &device, &error));
    options.device = device;
    OK(strix_plan_info(plan, &info, &error));
    printf("plan: %llu bytes of device memory in %llu parts, %u of %u layers stay\n",
           (unsigned long long)info.device_bytes, (unsigned long long)info.num_parts, (unsigned)info.resident_layers,
           (unsigned)info.num_layers);
    CHECK(info.device_bytes > 0 && info.num_parts > 0 && info.kv_cache_bytes > 0);
    for (i = 0; i < info.num_parts; i++) {
        OK(strix_plan_part(plan, i, &part, &error));
        printf("  %-30s %9llu bytes, home %d\n", part.name, (unsigned long long)part.bytes, (int)part.home);
    }
    FAILS(STRIX_STATUS_OUT_OF_RANGE, "parts", strix_plan_part(plan, i, &part, &error));
    CHECK(strix_plan_note(plan, 0) == NULL);
    strix_plan_free(plan);

    options.device_memory = 1 << 20;
    CHECK(strix_plan_new(checkpoint, &options, &plan, &refused) == STRIX_STATUS_OUT_OF_MEMORY && plan == NULL);
    printf("too little: %s\n", strix_error_message(refused));
    CHECK(strix_error_num_remedies(refused) > 0);
    for (i = 0; i < strix_error_num_remedies(refused); i++) {
        OK(strix_error_remedy(refused, i, &remedy, &error));
        printf("  remedy %d: %llu\n", (int)remedy.kind, (unsigned long long)remedy.value);
        if (remedy.kind == STRIX_REMEDY_KIND_DEVICE_MEMORY) options.device_memory = remedy.value;
    }
    FAILS(STRIX_STATUS_OUT_OF_RANGE, "remedies", strix_error_remedy(refused, i, &remedy, &error));
    strix_error_free(refused);
    OK(strix_plan_new(checkpoint, &options, &plan, &error));
    OK(strix_plan_info(plan, &info, &error));
    CHECK(info.resident_layers < info.num_layers && info.streamed_bytes > 0);
    strix_plan_free(plan);

    memset(&larger, 0, sizeof larger);
    larger.known.size = sizeof larger;
    larger.known.device = device;
    OK(strix_plan_new(checkpoint, &larger.known, &plan, &error));
    strix_plan_free(plan);
    larger.later = 1;
    FAILS(STRIX_STATUS_STRUCT_SIZE, "newer", strix_plan_new(checkpoint, &larger.known, &plan, &error));
    /* Of which the device is known. */
    larger.known.size = 2 * sizeof(size_t);
    OK(strix_plan_new(checkpoint, &larger.known, &plan, &error));
    strix_plan_free(plan);

    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.device = device;
    options.chunk = 1;
    FAILS(STRIX_STATUS_OUT_OF_RANGE, "chunk is 1", strix_plan_new(checkpoint, &options, &plan, &error));
    options.chunk = 0;
    options.activations = STRIX_ACTIVATIONS_INT8;
    FAILS(STRIX_STATUS_OPTION, "int8", strix_plan_new(checkpoint, &options, &plan, &error));
    options.dtype = (StrixDtype)77;
    FAILS(STRIX_STATUS_OUT_OF_RANGE, "StrixDtype is 77", strix_plan_new(checkpoint, &options, &plan, &error));
    options.dtype = STRIX_DTYPE_INT8;
    options.int8_group = 5;
    FAILS(STRIX_STATUS_OUT_OF_RANGE, "group is 5", strix_plan_new(checkpoint, &options, &plan, &error));
    options.int8_group = 32;
    OK(strix_plan_new(checkpoint, &options, &plan, &error));
    strix_plan_free(plan);
    options.ctx = 1 << 20;
    FAILS(STRIX_STATUS_CONTEXT_TOO_LONG, "fits with", strix_plan_new(checkpoint, &options, &plan, &error));
    strix_checkpoint_free(checkpoint);
    strix_device_free(device);
}

void check_pictures(const Given *given) {
    StrixImage *picture = NULL;
    StrixImageOptions options = {.size = sizeof options, .has_background = 1, .background = 0xffffff};
    uint8_t bytes[2 * 16 + 8] = {0};
    StrixPixels pixels = {.size = sizeof pixels, .data = bytes, .len = sizeof bytes, .stride = 16, .width = 2, .height = 3};
    uint32_t width = 0, height = 0;
    size_t len;
    char *file = read_file(given->picture, &len);
    OK(strix_image_decode((uint8_t *)file, len, &options, &picture, &error));
    OK(strix_image_size(picture, &width, &height, &error));
    OK(strix_image_size(picture, NULL, NULL, &error));
    printf("picture: %u x %u of %zu bytes\n", (unsigned)width, (unsigned)height, len);
    strix_image_free(picture);
    FAILS(STRIX_STATUS_IMAGE, "cut short", strix_image_decode((uint8_t *)file, len / 2, NULL, &picture, &error));
    FAILS(STRIX_STATUS_IMAGE, "", strix_image_decode((const uint8_t *)"junk", 4, NULL, &picture, &error));
    FAILS(STRIX_STATUS_IMAGE, "", strix_image_decode(NULL, 0, NULL, &picture, &error));
    FAILS(STRIX_STATUS_NULL_POINTER, "bytes", strix_image_decode(NULL, 4, NULL, &picture, &error));
    FAILS(STRIX_STATUS_IO, "nowhere.png", strix_image_open("nowhere.png", NULL, &picture, &error));
    options.size = 3;
    FAILS(STRIX_STATUS_STRUCT_SIZE, "sizeof", strix_image_open(given->picture, &options, &picture, &error));
    free(file);

    for (pixels.format = STRIX_PIXEL_FORMAT_RGB8; pixels.format <= STRIX_PIXEL_FORMAT_BGRA8; pixels.format++) {
        OK(strix_image_from_pixels(&pixels, NULL, &picture, &error));
        strix_image_free(picture);
    }
    FAILS(STRIX_STATUS_OUT_OF_RANGE, "StrixPixelFormat is 3", strix_image_from_pixels(&pixels, NULL, &picture, &error));
    pixels.format = STRIX_PIXEL_FORMAT_RGBA8;
    pixels.len = 2 * 16 + 7;
    FAILS(STRIX_STATUS_IMAGE, "has 39 bytes", strix_image_from_pixels(&pixels, NULL, &picture, &error));
    pixels.stride = 7;
    FAILS(STRIX_STATUS_IMAGE, "takes 8", strix_image_from_pixels(&pixels, NULL, &picture, &error));
    pixels.stride = (size_t)-1;
    FAILS(STRIX_STATUS_IMAGE, "more than there can be", strix_image_from_pixels(&pixels, NULL, &picture, &error));
    pixels.width = pixels.height = 1u << 31;
    FAILS(STRIX_STATUS_IMAGE, "above", strix_image_from_pixels(&pixels, NULL, &picture, &error));
    pixels.width = 0;
    FAILS(STRIX_STATUS_IMAGE, "no pixels", strix_image_from_pixels(&pixels, NULL, &picture, &error));
    pixels.width = 4, pixels.height = 3, pixels.stride = 0, pixels.data = NULL, pixels.len = 48;
    FAILS(STRIX_STATUS_NULL_POINTER, "data", strix_image_from_pixels(&pixels, NULL, &picture, &error));
    FAILS(STRIX_STATUS_NULL_POINTER, "pixels", strix_image_from_pixels(NULL, NULL, &picture, &error));
    CHECK(picture == NULL);
}
