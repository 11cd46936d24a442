/*
 * strix.h: Strix for C. Asks questions about pictures, on any GPU.
 *
 * Errors. A function that can fail returns a StrixStatus, which is negative where it did. Its last argument is a place for
 * an error, with a message: it is set to NULL, or to an error that the caller frees with strix_error_free. It may be NULL.
 * A place for a result is set to NULL where there is none. No function aborts, prints, throws, or keeps an error for later.
 *
 * Ownership. What a function gives through a place that its text calls the caller's is freed with the strix_..._free of its
 * type, once, in any order: a handle keeps what it needs of others. What a function is given stays the caller's. Pointers in
 * structs that a function fills are the handle's that they were asked of.
 *
 * Structs begin with their size, which the caller sets: StrixAskOptions options = {.size = sizeof options}. What is zero has its
 * default, and NULL for options is all zeros. A caller of an older header gives a smaller struct, which is accepted, and is
 * filled as far as it goes; one of a newer header gives a larger one, which is accepted if what is behind is zero.
 *
 * Texts are UTF-8, with a zero byte at their end. A callback must not throw or longjmp through the library.
 *
 * Threads. Nothing is bound to a thread, and there is no global state: each function says which threads may call it.
 *
 * Handles that are used after they were freed, or freed twice, are faults that cannot be told.
 */

#ifndef STRIX_H
#define STRIX_H

#include <stddef.h>
#include <stdint.h>

/** Version of the binary interface that this header describes. A library with the same number has all of it. */
#define STRIX_ABI_VERSION 0

/** In ids of strix_session_complete_ids and strix_session_logits, the place of a picture. */
#define STRIX_PICTURE UINT32_MAX

/** What a function returns. Errors are negative; a later library may have some that this header does not name. */
enum StrixStatus
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /** Done. */
  STRIX_STATUS_OK = 0,
  /** There is nothing more: the answer has ended. */
  STRIX_STATUS_END = 1,
  /** A pointer is NULL that must not be. */
  STRIX_STATUS_NULL_POINTER = -1,
  /** A text is not UTF-8. */
  STRIX_STATUS_BAD_TEXT = -2,
  /** A struct's size was not set, or it asks for what a newer library has. */
  STRIX_STATUS_STRUCT_SIZE = -3,
  /** A number is out of its range. */
  STRIX_STATUS_OUT_OF_RANGE = -4,
  /** Another thread, or a callback, is within a function of this handle. */
  STRIX_STATUS_IN_USE = -5,
  /** The library was built without what was asked for. */
  STRIX_STATUS_UNSUPPORTED = -6,
  /** A fault of Strix: it panicked within. The handle may be freed, and not be used further. */
  STRIX_STATUS_INTERNAL = -7,
  /** It was cancelled. */
  STRIX_STATUS_CANCELLED = -8,
  /** A file could not be opened, read or written. */
  STRIX_STATUS_IO = -20,
  /** A file is not what it should be. */
  STRIX_STATUS_FILE = -21,
  /** config.json asks for something contradictory or unsupported. */
  STRIX_STATUS_CONFIG = -22,
  /** A tensor is missing, or has another shape or type than the config says. */
  STRIX_STATUS_TENSOR = -23,
  /** The folder has no tokenizer. */
  STRIX_STATUS_NO_TOKENIZER = -24,
  /** The weights are of another type than was asked for. */
  STRIX_STATUS_DTYPE = -25,
  /** A picture could not be decoded. */
  STRIX_STATUS_IMAGE = -30,
  /** The conversation does not allow it: a reply is missing, or there is no question. */
  STRIX_STATUS_PROMPT = -31,
  /** The prompt takes more positions than the context holds. */
  STRIX_STATUS_PROMPT_TOO_LONG = -32,
  /** The context is full. */
  STRIX_STATUS_CONTEXT_FULL = -33,
  /** Places for pictures and pictures are not equally many. */
  STRIX_STATUS_PICTURE_MISMATCH = -34,
  /** A token is not in the vocabulary. */
  STRIX_STATUS_UNKNOWN_TOKEN = -35,
  /** The last question of the session is still being answered. */
  STRIX_STATUS_BUSY = -36,
  /** No answer was cut off that could be gone on with. */
  STRIX_STATUS_NOTHING_TO_RESUME = -37,
  /** A picture of a restored session has to be given again. */
  STRIX_STATUS_PICTURE_ABSENT = -38,
  /** Too many requests wait. */
  STRIX_STATUS_QUEUE_FULL = -39,
  /** The KV cache has no room. */
  STRIX_STATUS_CACHE_FULL = -40,
  /** Options contradict each other or the model. */
  STRIX_STATUS_OPTION = -41,
  /** What an answer is to be (schema, regex, grammar) cannot be kept to. */
  STRIX_STATUS_CONSTRAINT = -42,
  /** The context is longer than the model or the device holds; a remedy says what fits. */
  STRIX_STATUS_CONTEXT_TOO_LONG = -43,
  /** No adapter, or none of that name. */
  STRIX_STATUS_NO_ADAPTER = -50,
  /** The adapter cannot run the kernels. */
  STRIX_STATUS_ADAPTER_TOO_SMALL = -51,
  /** The device has too little memory; remedies say what fits. */
  STRIX_STATUS_OUT_OF_MEMORY = -52,
  /** The device was lost. Free its models, open it and load anew. */
  STRIX_STATUS_DEVICE_LOST = -53,
  /** Another failure of the device or its driver. */
  STRIX_STATUS_DEVICE = -54,
  /** An error that has no code of its own. */
  STRIX_STATUS_OTHER = -99,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum StrixStatus StrixStatus;
#else
typedef int32_t StrixStatus;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/** What to change. */
enum StrixRemedyKind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /** Load with a ctx of at most value. */
  STRIX_REMEDY_KIND_CTX = 0,
  /** Load with kv_dtype STRIX_KV_DTYPE_F16. */
  STRIX_REMEDY_KIND_KV_F16 = 1,
  /** Load with a device_memory of at least value bytes. */
  STRIX_REMEDY_KIND_DEVICE_MEMORY = 2,
  /** Take a checkpoint that was converted to int8. */
  STRIX_REMEDY_KIND_INT8 = 3,
  /** Take another adapter. */
  STRIX_REMEDY_KIND_ADAPTER = 4,
  /** Something that this library has no name for. */
  STRIX_REMEDY_KIND_OTHER = 5,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum StrixRemedyKind StrixRemedyKind;
#else
typedef int32_t StrixRemedyKind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/** How much a message matters. */
enum StrixLogLevel
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /** As a field of StrixLog: as STRIX_LOG_LEVEL_WARN. */
  STRIX_LOG_LEVEL_DEFAULT = 0,
  /** Something failed that no function told. */
  STRIX_LOG_LEVEL_ERROR = 1,
  /** Something is not as it should be, and goes on. */
  STRIX_LOG_LEVEL_WARN = 2,
  /** What was chosen. */
  STRIX_LOG_LEVEL_INFO = 3,
  /** Details. */
  STRIX_LOG_LEVEL_DEBUG = 4,
  /** All. */
  STRIX_LOG_LEVEL_TRACE = 5,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum StrixLogLevel StrixLogLevel;
#else
typedef int32_t StrixLogLevel;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/** The kind of an adapter. */
enum StrixDeviceType
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /** None of those below. */
  STRIX_DEVICE_TYPE_OTHER = 0,
  /** A GPU with memory of its own. */
  STRIX_DEVICE_TYPE_DISCRETE = 1,
  /** A GPU that shares the processor's memory. */
  STRIX_DEVICE_TYPE_INTEGRATED = 2,
  /** A GPU of a virtual machine. */
  STRIX_DEVICE_TYPE_VIRTUAL = 3,
  /** The processor itself. */
  STRIX_DEVICE_TYPE_SOFTWARE = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum StrixDeviceType StrixDeviceType;
#else
typedef int32_t StrixDeviceType;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/** The interface that an adapter is reached through. */
enum StrixBackend
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /** None of those below. */
  STRIX_BACKEND_OTHER = 0,
  /** Vulkan. */
  STRIX_BACKEND_VULKAN = 1,
  /** Metal. */
  STRIX_BACKEND_METAL = 2,
  /** Direct3D 12. */
  STRIX_BACKEND_DX12 = 3,
  /** OpenGL. */
  STRIX_BACKEND_GL = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum StrixBackend StrixBackend;
#else
typedef int32_t StrixBackend;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/** The order of the bytes of a pixel. */
enum StrixPixelFormat
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /** Red, green, blue: 3 bytes. */
  STRIX_PIXEL_FORMAT_RGB8 = 0,
  /** Red, green, blue and alpha: 4 bytes. */
  STRIX_PIXEL_FORMAT_RGBA8 = 1,
  /** Blue, green, red and alpha: 4 bytes. */
  STRIX_PIXEL_FORMAT_BGRA8 = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum StrixPixelFormat StrixPixelFormat;
#else
typedef int32_t StrixPixelFormat;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/** What matrices are stored as on the device. */
enum StrixDtype
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /** As the checkpoint has them. */
  STRIX_DTYPE_AUTO = 0,
  /** 32 bits. */
  STRIX_DTYPE_F32 = 1,
  /** 16 bits. */
  STRIX_DTYPE_BF16 = 2,
  /** 8 bits, with a scale for each row, or for each int8_group elements of it. */
  STRIX_DTYPE_INT8 = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum StrixDtype StrixDtype;
#else
typedef int32_t StrixDtype;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/** What products make of the rows they are given. */
enum StrixActivations
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /** Nothing: 32 bits. */
  STRIX_ACTIVATIONS_F32 = 0,
  /** 8 bits, where the weights have 8 bits: faster. */
  STRIX_ACTIVATIONS_INT8 = 1,
  /** 16 bits, on a device that computes in them. */
  STRIX_ACTIVATIONS_F16 = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum StrixActivations StrixActivations;
#else
typedef int32_t StrixActivations;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/** What keys and values are stored as. */
enum StrixKvDtype
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /** 32 bits. */
  STRIX_KV_DTYPE_F32 = 0,
  /** 16 bits: half the memory. */
  STRIX_KV_DTYPE_F16 = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum StrixKvDtype StrixKvDtype;
#else
typedef int32_t StrixKvDtype;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/** How pictures are made square. */
enum StrixPreprocess
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /** Stretched, as the original does. */
  STRIX_PREPROCESS_RESIZE = 0,
  /** Centred on a square of the mean colour. */
  STRIX_PREPROCESS_PAD = 1,
  /** Its middle square. */
  STRIX_PREPROCESS_CROP = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum StrixPreprocess StrixPreprocess;
#else
typedef int32_t StrixPreprocess;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/** Where a part of a model is held. */
enum StrixHome
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /** In buffers of the device. */
  STRIX_HOME_RESIDENT = 0,
  /** In the mapped file, where the device reads it. */
  STRIX_HOME_MAPPED = 1,
  /** In the file; it comes to the device while it is used. */
  STRIX_HOME_STREAMED = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum StrixHome StrixHome;
#else
typedef int32_t StrixHome;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What the text of an answer must be. An answer that ends by itself fits whole; one that is cut short is the beginning of one
 * that fits.
 */
enum StrixConstraintKind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /** Anything. */
  STRIX_CONSTRAINT_KIND_NONE = 0,
  /** Any JSON value. */
  STRIX_CONSTRAINT_KIND_JSON = 1,
  /** JSON of the schema whose JSON text constraint is. What of JSON Schema cannot be kept to is refused. */
  STRIX_CONSTRAINT_KIND_JSON_SCHEMA = 2,
  /** Text that the regex constraint matches from its first character to its last. */
  STRIX_CONSTRAINT_KIND_REGEX = 3,
  /** Text of the grammar constraint, in llguidance's dialect of Lark's notation. */
  STRIX_CONSTRAINT_KIND_LARK = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum StrixConstraintKind StrixConstraintKind;
#else
typedef int32_t StrixConstraintKind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/** How the turns of a conversation are written. */
enum StrixTemplate
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /** As mPLUG-Owl2 was trained. */
  STRIX_TEMPLATE_MPLUG_OWL2 = 0,
  /** The same behind Vicuna 1.1's system text. */
  STRIX_TEMPLATE_VICUNA_V1 = 1,
  /** The texts alone. */
  STRIX_TEMPLATE_PLAIN = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum StrixTemplate StrixTemplate;
#else
typedef int32_t StrixTemplate;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/** Why an answer ended. */
enum StrixFinish
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /** The model ended it. */
  STRIX_FINISH_EOS = 0,
  /** It is what its constraint asks for, and nothing can follow. */
  STRIX_FINISH_COMPLETE = 1,
  /** A stop text appeared. */
  STRIX_FINISH_STOP = 2,
  /** It reached its max_tokens. */
  STRIX_FINISH_MAX_TOKENS = 3,
  /** The context is full. */
  STRIX_FINISH_CONTEXT = 4,
  /** It was cancelled. */
  STRIX_FINISH_CANCELLED = 5,
  /** A reason that this library has no name for. */
  STRIX_FINISH_OTHER = 6,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum StrixFinish StrixFinish;
#else
typedef int32_t StrixFinish;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/** What a listener is told. */
enum StrixEventKind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /** A token came. */
  STRIX_EVENT_KIND_TOKEN = 0,
  /** The answer is complete, and in the conversation. It is the last event. */
  STRIX_EVENT_KIND_FINISHED = 1,
  /** It ended with an error; what was said before is in the conversation. It is the last event. */
  STRIX_EVENT_KIND_FAILED = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum StrixEventKind StrixEventKind;
#else
typedef int32_t StrixEventKind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * A whole answer. It has no tie to the session, and may outlive it.
 *
 * It does not change: any number of threads may read it. Freed with strix_answer_free.
 */
typedef struct StrixAnswer StrixAnswer;

/**
 * Cancels what it was given to: a load, an answer, or several. It may outlive them.
 *
 * Any number of threads may use it at the same time, also from callbacks. Freed with strix_canceller_free, before or after
 * what it was given to ends.
 */
typedef struct StrixCanceller StrixCanceller;

/**
 * The files of a model, opened and checked against each other; no weight is read yet.
 *
 * It does not change: any number of threads may use it at the same time, and any number of models may be loaded of it.
 * Freed with strix_checkpoint_free, also before these models.
 */
typedef struct StrixCheckpoint StrixCheckpoint;

/**
 * An opened device. Any number of models may be loaded onto it, and it may be freed before them.
 *
 * Any number of threads may use it at the same time. Freed with strix_device_free.
 */
typedef struct StrixDevice StrixDevice;

/**
 * The adapters of this machine, best first.
 *
 * It does not change: any number of threads may read it.
 */
typedef struct StrixDevices StrixDevices;

/**
 * What went wrong in one call. It has no tie to the handle of the call, and may outlive it.
 *
 * It does not change: any number of threads may read it. Freed with strix_error_free.
 */
typedef struct StrixError StrixError;

/**
 * An answer while it is generated. The model runs it beside those of other sessions, whether its tokens are taken or not.
 *
 * One thread at a time may use it, and any other may cancel it: a second call meanwhile has STRIX_STATUS_IN_USE. Freed with
 * strix_generation_free, which cancels it; what was taken of it stays in the conversation.
 */
typedef struct StrixGeneration StrixGeneration;

/**
 * A picture, of any size: 8 bits of red, green and blue.
 *
 * It does not change: any number of threads and sessions may use it at the same time. Freed with strix_image_free, also
 * while sessions have it: they have what they need of it.
 */
typedef struct StrixImage StrixImage;

/**
 * A model on a device, ready for any number of sessions.
 *
 * Any number of threads may use it at the same time. Freed with strix_model_free, also before its sessions: the device's
 * memory is freed with the last of all that use it.
 */
typedef struct StrixModel StrixModel;

/**
 * Where the parts of a model live, or would.
 *
 * It does not change: any number of threads may read it. Freed with strix_plan_free.
 */
typedef struct StrixPlan StrixPlan;

/**
 * A conversation: its turns and its pictures.
 *
 * One thread at a time may use it: a second call meanwhile has STRIX_STATUS_IN_USE. Different sessions, also of one model, may
 * be used at the same time. Freed with strix_session_free, also before its answers.
 */
typedef struct StrixSession StrixSession;

/** A change that would let a model be loaded, where loading or planning failed for lack of memory or for its context. */
typedef struct StrixRemedy {
  /** Set by the caller: sizeof(StrixRemedy). */
  size_t size;
  /** The number that belongs to it; 0 if none does. */
  uint64_t value;
  /** What to change. */
  StrixRemedyKind kind;
  /** 0. */
  uint32_t reserved;
} StrixRemedy;

/**
 * Is told a message: one line of UTF-8 of the part target, such as "strix_model::model". Both texts are there during the
 * call only.
 *
 * It is called on whichever thread has something to say, by several at once, also on the model's own, and may use any other
 * handle than those that are within a call. It must not free anything of the model that it is told of, which would wait for
 * its own thread, nor wait for an answer of it, throw or longjmp.
 */
typedef void (*StrixLogCallback)(void *user, StrixLogLevel level, const char *target, const char *message);

/**
 * Where messages go. It is copied: what user points to must be there until the handle that it was given to, and all that was
 * made from that, are freed. Nothing is written to the standard streams, whatever is set here.
 */
typedef struct StrixLog {
  /** Set by the caller: sizeof(StrixLog). */
  size_t size;
  /** Is told the messages. */
  StrixLogCallback callback;
  /** First argument of callback. */
  void *user;
  /** The least level of messages; those above it are told too. */
  StrixLogLevel level;
  /** 0. */
  uint32_t reserved;
} StrixLog;

/**
 * Choice of an adapter. All zeros are the best one. It is read during the call only.
 *
 * Four environment variables are obeyed too, also where no options are given. STRIX_ADAPTER names the adapter, unless adapter
 * does. STRIX_NO_IMPORT=1 is as no_import, STRIX_NO_SUBGROUPS=1 makes no use of subgroups, and STRIX_FAMILY chooses the family
 * of kernels: subgroup, tiled, plain or coop.
 */
typedef struct StrixDeviceOptions {
  /** Set by the caller: sizeof(StrixDeviceOptions). */
  size_t size;
  /**
   * Words of the adapter's name or backend, in any case: "nvidia", "vulkan llvmpipe". NULL: what the environment
   * variable STRIX_ADAPTER names, else discrete before integrated before software.
   */
  const char *adapter;
  /** Where messages go; NULL: nowhere. */
  const StrixLog *log;
  /** 1: weights are copied to the device even where it could use the mapped file itself. */
  uint32_t no_import;
  /** 0. */
  uint32_t reserved;
} StrixDeviceOptions;

/** An adapter, or the device of one. The texts are those of the handle that it was asked of. */
typedef struct StrixDeviceInfo {
  /** Set by the caller: sizeof(StrixDeviceInfo). */
  size_t size;
  /** Its name. */
  const char *name;
  /** Its driver and the driver's version. */
  const char *driver;
  /** Why it cannot be used; NULL if it can. */
  const char *missing;
  /** Bytes of its memory; 0 if unknown. Of a device: those that were free when it was opened. */
  uint64_t memory;
  /** Bytes of the largest buffer that a kernel can be given. */
  uint64_t max_binding;
  /** What it is. */
  StrixDeviceType device_type;
  /** How it is reached. */
  StrixBackend backend;
  /** 1 if its memory is the processor's. */
  uint32_t shares_memory;
  /** 1 if it uses mapped files where they are, without a copy. */
  uint32_t imports;
  /** 1 if it is the one that would be opened; of a device, 1. */
  uint32_t chosen;
  /** 0. */
  uint32_t reserved;
} StrixDeviceInfo;

/** How a file becomes a picture. All zeros are what the original model does: alpha is dropped, EXIF is ignored. */
typedef struct StrixImageOptions {
  /** Set by the caller: sizeof(StrixImageOptions). */
  size_t size;
  /** 1: the orientation that cameras note in EXIF turns the picture. */
  uint32_t honour_exif;
  /** 1: background shows through where the picture is transparent. */
  uint32_t has_background;
  /** 0xRRGGBB. */
  uint32_t background;
  /** 0. */
  uint32_t reserved;
} StrixImageOptions;

/** Rows of pixels in the caller's memory. It is read during the call only. */
typedef struct StrixPixels {
  /** Set by the caller: sizeof(StrixPixels). */
  size_t size;
  /** First pixel of the first row. */
  const uint8_t *data;
  /** Bytes from the first pixel to the end of the last row. The last row need not be padded to stride. */
  size_t len;
  /** Bytes from one row to the next; 0: rows without padding. */
  size_t stride;
  /** Pixels of a row. */
  uint32_t width;
  /** Number of rows. */
  uint32_t height;
  /** Order of a pixel's bytes. */
  StrixPixelFormat format;
  /** 0. */
  uint32_t reserved;
} StrixPixels;

/** What a checkpoint is of. */
typedef struct StrixCheckpointInfo {
  /** Set by the caller: sizeof(StrixCheckpointInfo). */
  size_t size;
  /** Parameters in all. */
  uint64_t num_parameters;
  /** Tokens of the vocabulary. */
  uint32_t vocab_size;
  /** Layers of the decoder. */
  uint32_t num_layers;
  /** Elements of a hidden state, and of a row that a picture becomes. */
  uint32_t hidden_size;
  /** Positions that a picture takes. */
  uint32_t positions_per_picture;
  /** Pixels of a side of the square that the model sees of a picture. */
  uint32_t image_size;
  /** Positions of a conversation that the model was trained for. */
  uint32_t trained_ctx;
} StrixCheckpointInfo;

/** How far loading is. */
typedef struct StrixProgress {
  /** Bytes of this struct, as the library has it. */
  size_t size;
  /** The tensor that was read last; there during the call only. */
  const char *what;
  /** Bytes of the checkpoint that were read. */
  uint64_t done;
  /** Bytes that will be read in all. */
  uint64_t total;
} StrixProgress;

/**
 * Is told how far loading is. 0 goes on; anything else ends loading with STRIX_STATUS_CANCELLED.
 *
 * It is called on the thread that loads, within strix_model_load, and must not throw or longjmp.
 */
typedef int32_t (*StrixProgressCallback)(void *user, const StrixProgress *progress);

/**
 * How a model is loaded. Each field that is zero has its default; so all zeros are the defaults. It is read during the call
 * only, and so are the texts in it.
 */
typedef struct StrixLoadOptions {
  /** Set by the caller: sizeof(StrixLoadOptions). */
  size_t size;
  /** The device; NULL: one is opened as strix_device_open does without options. */
  const StrixDevice *device;
  /** Where messages of the model and all its sessions go; NULL: nowhere. */
  const StrixLog *log;
  /** Is told how far loading is; NULL: nobody is. */
  StrixProgressCallback progress;
  /** First argument of progress. */
  void *progress_user;
  /** Cancels loading, from any thread; NULL: nothing does. It may be freed once the call has returned. */
  StrixCanceller *canceller;
  /** Folder for tunings and compiled kernels, which make the next load faster; NULL: nothing is kept. */
  const char *cache_dir;
  /** Bytes of device memory to stay within: what does not fit is streamed. 0: what the device has free. */
  uint64_t device_memory;
  /**
   * Bytes of the KV cache, which all sessions share. 0: for one conversation of ctx positions, or as many as take no more
   * than 1 GiB, up to 16.
   */
  uint64_t kv_memory;
  /** Positions of a conversation; 0: what the model was trained for. */
  uint32_t ctx;
  /** What matrices are stored as. */
  StrixDtype dtype;
  /** With STRIX_DTYPE_INT8: elements of a row that share a scale, 32, 64 or 128. 0: the whole row. */
  uint32_t int8_group;
  /** 1: with STRIX_DTYPE_INT8, the vision tower's matrices too. */
  uint32_t int8_vision;
  /** What products make of the rows they are given. */
  StrixActivations activations;
  /** What keys and values are stored as. */
  StrixKvDtype kv_dtype;
  /** How pictures are made square. */
  StrixPreprocess preprocess;
  /** Positions of a prompt that are run at once, 2 to 4096. 0: 64. */
  uint32_t chunk;
  /** Answers that may wait for a turn. 0: 1024. */
  uint32_t queue;
  /**
   * Milliseconds for which one submit may keep the device: what is cancelled ends, and another app's frame comes, within
   * them. 0: 50.
   */
  uint32_t slice_ms;
} StrixLoadOptions;

/**
 * A file in the caller's memory. The bytes must be there, and stay as they are, until the checkpoint and all models, sessions
 * and answers of it are freed: a session alone may still bring weights to the device. Whoever would be told when takes
 * strix_checkpoint_from_provider, which has a release.
 */
typedef struct StrixNamedBytes {
  /** Its name, such as "config.json". It is read during the call only. */
  const char *name;
  /** Its bytes. */
  const uint8_t *data;
  /** Number of bytes. */
  size_t len;
} StrixNamedBytes;

/**
 * Reads bytes of a file, from byte at on: all len of them. Returns 0; anything else is an error, and the load or the answer
 * that needed them fails.
 *
 * It is called by one thread at a time, but not always the same, also on the model's own. It must not free anything of the
 * model, throw or longjmp.
 */
typedef int32_t (*StrixReadCallback)(void *user, uint64_t at, uint8_t *bytes, size_t len);

/**
 * Is told that a file, or its bytes, are not needed any more. It may be called on any thread, also on the model's own. It must
 * not free anything of the model, throw or longjmp.
 */
typedef void (*StrixReleaseCallback)(void *user);

/** A file that a function provides: data, or read. */
typedef struct StrixFile {
  /** Set by the library before the call: sizeof(StrixFile) as it has it. */
  size_t size;
  /** Bytes in memory, len of them, which stay as they are until release is called; or NULL, and read is called. */
  const uint8_t *data;
  /** Bytes that the file has. */
  uint64_t len;
  /** Reads them, if data is NULL. */
  StrixReadCallback read;
  /** Is called when the file is not needed any more; NULL: nobody is told. */
  StrixReleaseCallback release;
  /** First argument of read and release. */
  void *user;
} StrixFile;

/**
 * Provides a file by its name, such as "config.json" or "model.safetensors": fills file and returns 1. Returns 0 where there
 * is none of that name, and anything negative where it cannot be had, which ends loading.
 *
 * It is called during strix_checkpoint_from_provider only, on its thread, and must not throw or longjmp.
 */
typedef int32_t (*StrixProvideCallback)(void *user, const char *name, StrixFile *file);

/** A model's numbers. */
typedef struct StrixModelInfo {
  /** Set by the caller: sizeof(StrixModelInfo). */
  size_t size;
  /** Name and backend of its adapter; there until the model is freed. */
  const char *adapter;
  /** Parameters in all. */
  uint64_t num_parameters;
  /** Bytes of the weights on the device. */
  uint64_t weight_bytes;
  /** Bytes of the weights that one decoded token reads. */
  uint64_t decode_bytes;
  /** Positions that a conversation may come to. */
  uint32_t ctx;
  /** Tokens of the vocabulary. */
  uint32_t vocab_size;
  /** Elements of a row that a picture becomes. */
  uint32_t hidden_size;
  /** Positions that a picture takes. */
  uint32_t positions_per_picture;
} StrixModelInfo;

/** What a model is doing for all its sessions. */
typedef struct StrixActivity {
  /** Set by the caller: sizeof(StrixActivity). */
  size_t size;
  /** Answers that are being run. */
  uint64_t running;
  /** Answers that wait for a turn or for room. */
  uint64_t waiting;
  /** Answers so far that the KV cache had no room for at first. */
  uint64_t waited_for_room;
  /** Positions that the KV cache has room for. */
  uint64_t kv_positions;
  /** Those of them that no running answer has or may still take. */
  uint64_t kv_positions_left;
  /** Pictures that were encoded so far. */
  uint64_t encoded_pictures;
} StrixActivity;

/** A plan's numbers. */
typedef struct StrixPlanInfo {
  /** Set by the caller: sizeof(StrixPlanInfo). */
  size_t size;
  /** Bytes of device memory of all parts. */
  uint64_t device_bytes;
  /** Bytes of device memory that may be used; 0 if unknown. */
  uint64_t budget_bytes;
  /** Bytes that come to the device for each decoded token; 0 where all layers stay there. */
  uint64_t streamed_bytes;
  /** Bytes of the KV cache. */
  uint64_t kv_cache_bytes;
  /** Number of parts: see strix_plan_part. */
  uint64_t num_parts;
  /** Positions of a conversation. */
  uint32_t ctx;
  /** Positions of a prompt that are run at once. */
  uint32_t chunk;
  /** Layers of the decoder that stay on the device. */
  uint32_t resident_layers;
  /** Layers of the decoder. */
  uint32_t num_layers;
} StrixPlanInfo;

/** A part of a model. */
typedef struct StrixPlanPart {
  /** Set by the caller: sizeof(StrixPlanPart). */
  size_t size;
  /** What it is: "KV cache". There until the plan is freed. */
  const char *name;
  /** Bytes in all. */
  uint64_t bytes;
  /** Bytes of device memory. */
  uint64_t device_bytes;
  /** Where it is held. */
  StrixHome home;
  /** 0. */
  uint32_t reserved;
} StrixPlanPart;

/** What is added to the logit of a token. */
typedef struct StrixLogitBias {
  /** The token. */
  uint32_t token;
  /** What is added; -INFINITY rules the token out. */
  float bias;
} StrixLogitBias;

/** A token that may come next, and its logit: the model's, with biases and penalties. */
typedef struct StrixLogit {
  /** The token. */
  uint32_t token;
  /** Its logit. */
  float logit;
} StrixLogit;

/**
 * Chooses the next token among those that may come: returns the id of one. Another ends the answer with an error.
 *
 * It is called on the model's thread, which has nothing to run meanwhile: it should return soon. tokens are there during the
 * call only. It must not free anything of this model, which would wait for its own thread, nor wait for an answer of it, throw
 * or longjmp.
 */
typedef uint32_t (*StrixSamplerCallback)(void *user, const StrixLogit *tokens, size_t num_tokens);

/**
 * How an answer is generated. Each field that is zero has its default; so all zeros are the defaults, which are greedy. It is
 * read during the call only, and so is what it points to.
 */
typedef struct StrixAskOptions {
  /** Set by the caller: sizeof(StrixAskOptions). */
  size_t size;
  /** Texts that end the answer and are not part of it: num_stop of them. */
  const char *const *stop;
  /** Number of stop texts. */
  size_t num_stop;
  /** What constraint_kind needs; else NULL. */
  const char *constraint;
  /** num_logit_bias of them. */
  const StrixLogitBias *logit_bias;
  /** Number of logit biases. */
  size_t num_logit_bias;
  /**
   * Ends the answer, from any thread; NULL: only strix_generation_cancel and its like do. It may be freed once the call
   * has returned.
   */
  StrixCanceller *canceller;
  /** Chooses each token in place of temperature, top_k, top_p, min_p and seed; NULL: those do. */
  StrixSamplerCallback sampler;
  /** First argument of sampler. What it points to must be there until the answer has ended. */
  void *sampler_user;
  /** Seed of the random numbers. The same seed gives the same tokens. */
  uint64_t seed;
  /** What the answer must be. */
  StrixConstraintKind constraint_kind;
  /** Tokens at most. 0: 512. */
  uint32_t max_tokens;
  /** The end token is not chosen before so many tokens. */
  uint32_t min_tokens;
  /** Only so many of the likeliest tokens stay; 0: 50, -1: all. */
  int32_t top_k;
  /** Divisor of the logits. 0: greedy, the likeliest token each time. */
  float temperature;
  /** The likeliest tokens stay until their probabilities reach this sum, up to 1. 0: 1, all. */
  float top_p;
  /** Tokens less likely than this fraction of the likeliest go, up to 1. */
  float min_p;
  /** What logits of tokens seen before are divided by if positive, and multiplied with if not. 0: 1, no change. */
  float repetition_penalty;
  /** Subtracted from the logit of each token that the answer holds, -2 to 2. */
  float presence_penalty;
  /** The same for each time that it came, -2 to 2. */
  float frequency_penalty;
  /** 1: each token has the logarithm of its probability. */
  uint32_t log_probs;
  /** With log_probs: each token also has so many of the likeliest in its place. */
  uint32_t top_log_probs;
  /**
   * 1: every <|image|> of a question is the place of a picture. 0: pictures are in front of the question, and its text is
   * data, whatever it looks like.
   */
  uint32_t placed;
  /** sampler is given so many of the likeliest tokens, likeliest first; 0: all, by their ids. */
  uint32_t sampler_candidates;
} StrixAskOptions;

/**
 * What is saved of a conversation beyond its turns, its tokens and the hashes of its pictures. All zeros: the pictures as the
 * model sees them.
 */
typedef struct StrixSaveOptions {
  /** Set by the caller: sizeof(StrixSaveOptions). */
  size_t size;
  /** 1: the pictures are not saved, and have to be given again with strix_session_supply_image. */
  uint32_t without_pictures;
  /** 1: what the KV cache holds of it is saved, so that nothing of it is run again: 1 MiB a position of the 8.2B model. */
  uint32_t with_cache;
} StrixSaveOptions;

/** A turn of a conversation. Its texts are there until the next call with the session. */
typedef struct StrixTurn {
  /** Set by the caller: sizeof(StrixTurn). */
  size_t size;
  /** The question, with an <|image|> for each of its pictures. */
  const char *question;
  /** The answer; NULL while it is still to come. */
  const char *reply;
  /** Number of its pictures. */
  size_t num_pictures;
} StrixTurn;

/** What a conversation takes. */
typedef struct StrixUsage {
  /** Set by the caller: sizeof(StrixUsage). */
  size_t size;
  /** Positions, those of its pictures too. */
  uint64_t positions;
  /** Its pictures. */
  uint64_t pictures;
  /** Positions of its pictures. */
  uint64_t picture_positions;
  /** Pages of the KV cache that its positions take. */
  uint64_t pages;
  /** Pages that the KV cache has, for all conversations. */
  uint64_t cache_pages;
} StrixUsage;

/** A whole answer's text and numbers. All that it points to is there until the answer is freed. */
typedef struct StrixAnswerInfo {
  /** Set by the caller: sizeof(StrixAnswerInfo). */
  size_t size;
  /**
   * Its text, without white space at either end; under a constraint, with it. UTF-8. A zero byte is behind it; it may
   * have others within.
   */
  const char *text;
  /** Bytes of text. */
  size_t text_len;
  /** Its tokens, the one that ended it included. */
  const uint32_t *ids;
  /** Number of tokens. */
  size_t num_tokens;
  /** The stop text that ended it; else NULL. */
  const char *stop;
  /** Seconds from the question until room and a turn were there for it. */
  double queued_seconds;
  /** Seconds of preprocessing and encoding the pictures of this question. */
  double image_seconds;
  /** Seconds of running the prompt. */
  double prefill_seconds;
  /** Seconds of running one token after the other. */
  double decode_seconds;
  /** Seconds from the question to the first token. */
  double first_token_seconds;
  /** Positions of the prompt that were run. */
  uint32_t prefill_tokens;
  /** Positions of the prompt that the cache held already. */
  uint32_t reused_tokens;
  /** Tokens that took part in decode_seconds: all but the first. */
  uint32_t decode_tokens;
  /** Why it ended. */
  StrixFinish finish;
} StrixAnswerInfo;

/** A token, and the logarithm of its probability. */
typedef struct StrixLogProb {
  /** The token. */
  uint32_t token;
  /** Natural logarithm of the probability that the model gave it, before any option changed it. */
  float log_prob;
} StrixLogProb;

/** A token of an answer. */
typedef struct StrixToken {
  /** Set by the caller: sizeof(StrixToken). As a callback gets it, the library's. */
  size_t size;
  /**
   * The text that became certain with it: UTF-8, often the token's own, sometimes none, sometimes more. A zero byte is
   * behind it; it may have others within.
   */
  const char *text;
  /** Bytes of text. */
  size_t text_len;
  /** With log_probs, the likeliest tokens in its place, likeliest first: num_top of them; else NULL. */
  const StrixLogProb *top;
  /** Number of these. */
  size_t num_top;
  /** Its id. */
  uint32_t id;
  /** With log_probs, the logarithm of its probability; else 0. */
  float log_prob;
} StrixToken;

/** What a listener is told. All that it points to is there during the call only, and is not freed by the listener. */
typedef struct StrixEvent {
  /** Bytes of this struct, as the library has it. */
  size_t size;
  /** The token; else NULL. It has no log-probabilities: those are in the answer. */
  const StrixToken *token;
  /** The whole answer, when it is finished; else NULL. */
  const StrixAnswer *answer;
  /** The error, when it failed; else NULL. */
  const StrixError *error;
  /** Which of them it is. */
  StrixEventKind kind;
  /** 0. */
  uint32_t reserved;
} StrixEvent;

/**
 * Is told each token, and once the end. 0 goes on; anything else cancels the answer, of which one event more is told.
 *
 * It is called on the model's thread, which has nothing to run meanwhile: it should return soon. It may ask, cancel and
 * free, and must not wait for this or another answer of the model, throw or longjmp. What it frees of another model may wait
 * for answers of that: see strix_model_free.
 */
typedef int32_t (*StrixEventCallback)(void *user, const StrixEvent *event);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Code of an error; STRIX_STATUS_OK of NULL.
 *
 * Any thread.
 */
StrixStatus strix_error_code(const StrixError *error);

/**
 * What is wrong, with names and numbers and what to do: one line of UTF-8, for people. Of NULL, an empty text.
 *
 * The text is the error's, and is there until it is freed. Any thread.
 */
const char *strix_error_message(const StrixError *error);

/**
 * Frees an error. NULL is nothing.
 *
 * No thread may use it any more.
 */
void strix_error_free(StrixError *error);

/**
 * Name of a status, such as "STRIX_STATUS_OUT_OF_MEMORY"; "unknown" of one that this library does not have.
 *
 * The text is the library's, and is there for ever. Any thread.
 */
const char *strix_status_name(StrixStatus status);

/**
 * Number of changes, each of which would let what failed succeed; 0 of NULL.
 *
 * Any thread.
 */
size_t strix_error_num_remedies(const StrixError *error);

/**
 * One of these changes, by its index from 0.
 *
 * Fills remedy, whose size is set. Any thread.
 */
StrixStatus strix_error_remedy(const StrixError *of, size_t index, StrixRemedy *remedy, StrixError **error);

/**
 * Version of the binary interface that the library has: STRIX_ABI_VERSION of the header that it was built with.
 *
 * Within one number, functions and fields are only added. It is also the number of libstrix.so. Any thread.
 */
uint32_t strix_abi_version(void);

/**
 * Version of the library: "0.1.0".
 *
 * The text is the library's, and is there for ever. Any thread.
 */
const char *strix_version(void);

/**
 * Lists the adapters of this machine, those that cannot be used too. There may be none: that is no error. options may be NULL.
 *
 * The caller frees devices. Any thread.
 */
StrixStatus strix_devices_list(const StrixDeviceOptions *options,
                               StrixDevices **devices,
                               StrixError **error);

/**
 * Number of adapters; 0 of NULL.
 *
 * Any thread.
 */
size_t strix_devices_count(const StrixDevices *devices);

/**
 * What is known of an adapter, by its index from 0.
 *
 * Fills info, whose size is set. Its texts are there until devices is freed. Any thread.
 */
StrixStatus strix_devices_get(const StrixDevices *devices, size_t index, StrixDeviceInfo *info, StrixError **error);

/**
 * Frees the list. NULL is nothing.
 *
 * No thread may use it any more.
 */
void strix_devices_free(StrixDevices *devices);

/**
 * Opens a device. A device that the app made itself, with wgpu or another interface, cannot be given in C: its types are
 * Rust's. In Rust, Model::load_on takes it. options may be NULL.
 *
 * STRIX_FAMILY of the environment (see StrixDeviceOptions) fails it with STRIX_STATUS_OUT_OF_RANGE where there is no such
 * family. The caller frees device. Any thread.
 */
StrixStatus strix_device_open(const StrixDeviceOptions *options,
                              StrixDevice **device,
                              StrixError **error);

/**
 * What is known of a device.
 *
 * Fills info, whose size is set. Its texts are there until device is freed. Any thread.
 */
StrixStatus strix_device_info(const StrixDevice *device, StrixDeviceInfo *info, StrixError **error);

/**
 * Frees the handle; models on the device keep it. NULL is nothing.
 *
 * No thread may use the handle any more.
 */
void strix_device_free(StrixDevice *device);

/**
 * Reads a picture file: PNG, JPEG, WebP, GIF (its first frame), BMP or TIFF. options may be NULL.
 *
 * The caller frees picture. Any thread.
 */
StrixStatus strix_image_open(const char *path, const StrixImageOptions *options, StrixImage **picture, StrixError **error);

/**
 * The same of a file's bytes in memory, which are read during the call only.
 *
 * The caller frees picture. Any thread.
 */
StrixStatus strix_image_decode(const uint8_t *bytes,
                               size_t len,
                               const StrixImageOptions *options,
                               StrixImage **picture,
                               StrixError **error);

/**
 * A picture of pixels in memory, which are copied. Alpha is straight, and treated as that of a file. options may be NULL.
 *
 * The caller frees picture. Any thread.
 */
StrixStatus strix_image_from_pixels(const StrixPixels *pixels,
                                    const StrixImageOptions *options,
                                    StrixImage **picture,
                                    StrixError **error);

/**
 * Width and height of a picture. Either place may be NULL.
 *
 * Any thread.
 */
StrixStatus strix_image_size(const StrixImage *picture, uint32_t *width, uint32_t *height, StrixError **error);

/**
 * Frees a picture. NULL is nothing.
 *
 * No thread may use it any more.
 */
void strix_image_free(StrixImage *picture);

/**
 * Opens a model: a folder in Hugging Face layout, or a file of weights with its config beside it.
 *
 * weights may name a file of weights, or a folder of them, elsewhere; then path is the folder of the config and the
 * tokenizer. log may be NULL. The files have to stay as they are until the checkpoint and all models, sessions and answers of
 * it are freed. The caller frees checkpoint. Any thread.
 */
StrixStatus strix_checkpoint_open(const char *path,
                                  const char *weights,
                                  const StrixLog *log,
                                  StrixCheckpoint **checkpoint,
                                  StrixError **error);

/**
 * Opens nano, the small model that is part of the library. log may be NULL.
 *
 * The caller frees checkpoint. Any thread.
 */
StrixStatus strix_checkpoint_nano(const StrixLog *log, StrixCheckpoint **checkpoint, StrixError **error);

/**
 * What a checkpoint is of.
 *
 * Fills info, whose size is set. Any thread.
 */
StrixStatus strix_checkpoint_info(const StrixCheckpoint *checkpoint, StrixCheckpointInfo *info, StrixError **error);

/**
 * What a user should know of the files, by its index from 0: a line of UTF-8, such as that a key has no effect. NULL where
 * there are no more, and of NULL.
 *
 * The text is there until checkpoint is freed. Any thread.
 */
const char *strix_checkpoint_note(const StrixCheckpoint *checkpoint,
                                  size_t index);

/**
 * Checks that a prompt with so many pictures can be run by a model of it that is loaded with these options, and tells the
 * positions that it takes. The prompt is complete, with an <|image|> for each picture. options may be NULL.
 *
 * positions may be NULL. Any thread.
 */
StrixStatus strix_checkpoint_check_prompt(const StrixCheckpoint *checkpoint,
                                          const char *prompt,
                                          size_t num_pictures,
                                          const StrixLoadOptions *options,
                                          size_t *positions,
                                          StrixError **error);

/**
 * Frees a checkpoint; models of it keep what they need. NULL is nothing.
 *
 * No thread may use the handle any more.
 */
void strix_checkpoint_free(StrixCheckpoint *checkpoint);

/**
 * Opens a model of files in memory: config.json, model.safetensors, tokenizer.model and what else a folder would hold. log
 * may be NULL.
 *
 * The caller frees checkpoint, and the bytes after it and all its models, sessions and answers. Any thread.
 */
StrixStatus strix_checkpoint_from_memory(const StrixNamedBytes *files,
                                         size_t num_files,
                                         const StrixLog *log,
                                         StrixCheckpoint **checkpoint,
                                         StrixError **error);

/**
 * Opens a model of files that a function provides: of an archive, a store, a network. They are asked for by name; of weights,
 * bytes are read as they are needed. log may be NULL.
 *
 * The caller frees checkpoint. provide is not called after the call; what it provided is, until it is released. Any thread.
 */
StrixStatus strix_checkpoint_from_provider(StrixProvideCallback provide,
                                           void *user,
                                           const StrixLog *log,
                                           StrixCheckpoint **checkpoint,
                                           StrixError **error);

/**
 * Loads a model onto a device. options may be NULL.
 *
 * It returns when the model is loaded, which may take minutes: call it on a thread that may wait. What does not fit is an
 * error with remedies: see strix_error_num_remedies. The caller frees model; checkpoint may be freed before. Any thread.
 */
StrixStatus strix_model_load(const StrixCheckpoint *checkpoint,
                             const StrixLoadOptions *options,
                             StrixModel **model,
                             StrixError **error);

/**
 * Another handle of the same model, which is freed on its own. NULL of NULL.
 *
 * The caller frees it. Any thread.
 */
StrixModel *strix_model_share(const StrixModel *model);

/**
 * A model's numbers.
 *
 * Fills info, whose size is set. Any thread.
 */
StrixStatus strix_model_info(const StrixModel *model, StrixModelInfo *info, StrixError **error);

/**
 * What a model is doing for all its sessions.
 *
 * Fills activity, whose size is set. Any thread.
 */
StrixStatus strix_model_activity(const StrixModel *model, StrixActivity *activity, StrixError **error);

/**
 * Where the parts of a loaded model live.
 *
 * The caller frees plan. Any thread.
 */
StrixStatus strix_model_plan(const StrixModel *model, StrixPlan **plan, StrixError **error);

/**
 * What a user should know of a model, by its index from 0: a line of UTF-8. NULL where there are no more, and of NULL.
 *
 * The text is there until this handle is freed. Any thread.
 */
const char *strix_model_note(const StrixModel *model, size_t index);

/**
 * The tokens of a text. In it, <s>, </s> and <unk> are those tokens; nothing stands for a picture.
 *
 * Writes as many ids as there is room for, and to num_ids how many there are; ids may be NULL where room is 0. add_bos: 1 for
 * the token that begins a text. Any thread.
 */
StrixStatus strix_model_tokenize(const StrixModel *model,
                                 const char *text,
                                 int32_t add_bos,
                                 uint32_t *ids,
                                 size_t room,
                                 size_t *num_ids,
                                 StrixError **error);

/**
 * The text of tokens, without that of control tokens. No zero byte is put at its end.
 *
 * Writes as many bytes as there is room for, and to num_bytes how many there are; bytes may be NULL where room is 0. Any
 * thread.
 */
StrixStatus strix_model_detokenize(const StrixModel *model,
                                   const uint32_t *ids,
                                   size_t num_ids,
                                   uint8_t *bytes,
                                   size_t room,
                                   size_t *num_bytes,
                                   StrixError **error);

/**
 * What the decoder sees of a picture: positions_per_picture rows of hidden_size values, row after row.
 *
 * Writes as many values as there is room for, and to num_values how many there are; values may be NULL where room is 0. It
 * waits for the device. Any thread.
 */
StrixStatus strix_model_encode(const StrixModel *model,
                               const StrixImage *picture,
                               float *values,
                               size_t room,
                               size_t *num_values,
                               StrixError **error);

/**
 * Frees a handle of a model. The last of its handles, sessions and answers frees the model, with the device's memory; it
 * waits for answers that are listened to (strix_generation_listen): cancel them first where that should not take long.
 * Afterwards no thread of the model is left, and none of its callbacks is called any more. NULL is nothing.
 *
 * No thread may use the handle any more. From within a callback of strix_generation_listen of this model, nothing is waited
 * for: its thread ends, and lets go of what the model was loaded of, after the callback.
 */
void strix_model_free(StrixModel *model);

/**
 * Plans a model that would be loaded with these options: what it takes, and whether it fits. Nothing is allocated on the
 * device, which is opened unless options name one. options may be NULL.
 *
 * What does not fit is an error with remedies: see strix_error_num_remedies. The caller frees plan. Any thread.
 */
StrixStatus strix_plan_new(const StrixCheckpoint *checkpoint,
                           const StrixLoadOptions *options,
                           StrixPlan **plan,
                           StrixError **error);

/**
 * A plan's numbers.
 *
 * Fills info, whose size is set. Any thread.
 */
StrixStatus strix_plan_info(const StrixPlan *plan, StrixPlanInfo *info, StrixError **error);

/**
 * A part of the model, by its index from 0.
 *
 * Fills part, whose size is set. Its name is there until plan is freed. Any thread.
 */
StrixStatus strix_plan_part(const StrixPlan *plan, size_t index, StrixPlanPart *part, StrixError **error);

/**
 * What a user should know of the options, by its index from 0: a line of UTF-8. NULL where there are no more, and of NULL.
 *
 * The text is there until plan is freed. Any thread.
 */
const char *strix_plan_note(const StrixPlan *plan,
                            size_t index);

/**
 * Frees a plan. NULL is nothing.
 *
 * No thread may use it any more.
 */
void strix_plan_free(StrixPlan *plan);

/**
 * Begins a conversation.
 *
 * The caller frees session; model may be freed before. Any thread.
 */
StrixStatus strix_session_new(const StrixModel *model, StrixSession **session, StrixError **error);

/**
 * A conversation that goes on from where this one is, on its own. What the cache holds of it is shared.
 *
 * The caller frees fork. One thread at a time uses session.
 */
StrixStatus strix_session_fork(StrixSession *session, StrixSession **fork, StrixError **error);

/**
 * Adds a picture for the next question; several come in the order in which they were added. It is encoded when the question
 * is answered.
 *
 * The session takes what it needs of picture, which stays the caller's. One thread at a time uses session.
 */
StrixStatus strix_session_add_image(StrixSession *session,
                                    const StrixImage *picture,
                                    StrixError **error);

/**
 * Asks a question within the conversation. The answer is generated from now on, also while nobody takes its tokens. What is
 * refused leaves everything as it was. options may be NULL.
 *
 * The caller frees generation; session may be freed before. One thread at a time uses session.
 */
StrixStatus strix_session_ask(StrixSession *session,
                              const char *question,
                              const StrixAskOptions *options,
                              StrixGeneration **generation,
                              StrixError **error);

/**
 * Continues a prompt that is complete, with an <|image|> for each picture that was added, as a conversation of its own.
 * options may be NULL.
 *
 * The caller frees generation; session may be freed before. One thread at a time uses session.
 */
StrixStatus strix_session_complete(StrixSession *session,
                                   const char *prompt,
                                   const StrixAskOptions *options,
                                   StrixGeneration **generation,
                                   StrixError **error);

/**
 * The same of a prompt that is tokens already; STRIX_PICTURE is the place of a picture. options may be NULL.
 *
 * The caller frees generation; session may be freed before. One thread at a time uses session.
 */
StrixStatus strix_session_complete_ids(StrixSession *session,
                                       const uint32_t *ids,
                                       size_t num_ids,
                                       const StrixAskOptions *options,
                                       StrixGeneration **generation,
                                       StrixError **error);

/**
 * Answers the last question anew. If no token of that is taken, the answer before is kept. options may be NULL.
 *
 * The caller frees generation; session may be freed before. One thread at a time uses session.
 */
StrixStatus strix_session_retry(StrixSession *session,
                                const StrixAskOptions *options,
                                StrixGeneration **generation,
                                StrixError **error);

/**
 * Goes on with the last answer, which was cut off by max_tokens, by a full context or by being cancelled, for up to max_tokens
 * tokens more and with the options it had.
 *
 * The caller frees generation; session may be freed before. One thread at a time uses session.
 */
StrixStatus strix_session_resume(StrixSession *session,
                                 uint32_t max_tokens,
                                 StrixGeneration **generation,
                                 StrixError **error);

/**
 * The logits of the whole vocabulary for the token behind a prompt of tokens, in which STRIX_PICTURE is the place of a
 * picture that was added. The conversation stays as it is; what the cache holds of it is run anew.
 *
 * Writes as many values as there is room for, and to num_logits how many there are: the size of the vocabulary. It waits for
 * the device. One thread at a time uses session.
 */
StrixStatus strix_session_logits(StrixSession *session,
                                 const uint32_t *ids,
                                 size_t num_ids,
                                 float *logits,
                                 size_t room,
                                 size_t *num_logits,
                                 StrixError **error);

/**
 * Frees a conversation. An answer that is under way goes on until its generation is freed. Where it is the last handle of its
 * model, that is freed too, and waited for as strix_model_free says. NULL is nothing.
 *
 * No thread may use it any more.
 */
void strix_session_free(StrixSession *session);

/**
 * Saves a conversation to a file, which is there as a whole or as it was. options may be NULL.
 *
 * It may wait for the device. One thread at a time uses session.
 */
StrixStatus strix_session_save(StrixSession *session,
                               const char *path,
                               const StrixSaveOptions *options,
                               StrixError **error);

/**
 * The conversation that was saved in a file, of the same model loaded with the same types. It goes on with the tokens it
 * would have had.
 *
 * The caller frees session; model may be freed before. Any thread.
 */
StrixStatus strix_session_restore(const StrixModel *model,
                                  const char *path,
                                  StrixSession **session,
                                  StrixError **error);

/**
 * Number of pictures of a restored conversation that have to be given again before it can go on.
 *
 * One thread at a time uses session.
 */
StrixStatus strix_session_absent_images(StrixSession *session, size_t *number, StrixError **error);

/**
 * Gives a picture again that a restored conversation lacks.
 *
 * picture stays the caller's. One thread at a time uses session.
 */
StrixStatus strix_session_supply_image(StrixSession *session, const StrixImage *picture, StrixError **error);

/**
 * Number of questions so far.
 *
 * One thread at a time uses session.
 */
StrixStatus strix_session_num_turns(StrixSession *session, size_t *number, StrixError **error);

/**
 * A question and its answer, by its index from 0. Of an answer cut short, what was taken of it.
 *
 * Fills turn, whose size is set. Its texts are there until the next call with session. One thread at a time uses session.
 */
StrixStatus strix_session_turn(StrixSession *session,
                               size_t index,
                               StrixTurn *turn,
                               StrixError **error);

/**
 * Takes back the last question and its answer. Its pictures wait for the next question. Without any, nothing is done.
 *
 * One thread at a time uses session.
 */
StrixStatus strix_session_undo(StrixSession *session, StrixError **error);

/**
 * Forgets turns and pictures.
 *
 * One thread at a time uses session.
 */
StrixStatus strix_session_reset(StrixSession *session, StrixError **error);

/**
 * Lets go of the pictures that wait for the next question.
 *
 * One thread at a time uses session.
 */
StrixStatus strix_session_drop_waiting(StrixSession *session, StrixError **error);

/**
 * Sets the text in front of the first question; NULL for the template's own.
 *
 * One thread at a time uses session.
 */
StrixStatus strix_session_set_system(StrixSession *session, const char *text, StrixError **error);

/**
 * Writes turns in another template, and forgets the conversation.
 *
 * One thread at a time uses session.
 */
StrixStatus strix_session_set_template(StrixSession *session, StrixTemplate style, StrixError **error);

/**
 * What the questions and answers so far take.
 *
 * Fills usage, whose size is set. One thread at a time uses session.
 */
StrixStatus strix_session_usage(StrixSession *session, StrixUsage *usage, StrixError **error);

/**
 * An answer's text and numbers.
 *
 * Fills info, whose size is set. Any thread.
 */
StrixStatus strix_answer_info(const StrixAnswer *answer, StrixAnswerInfo *info, StrixError **error);

/**
 * A token of an answer, by its index from 0: its id and, if they were asked for, its log-probabilities. It has no text.
 *
 * Fills token, whose size is set. What it points to is there until answer is freed. Any thread.
 */
StrixStatus strix_answer_token(const StrixAnswer *answer, size_t index, StrixToken *token, StrixError **error);

/**
 * Frees an answer. NULL is nothing.
 *
 * No thread may use it any more.
 */
void strix_answer_free(StrixAnswer *answer);

/**
 * A canceller to put into options. One may be given to any number of calls: it cancels all of them.
 *
 * The caller frees it. Any thread.
 */
StrixCanceller *strix_canceller_new(void);

/**
 * Cancels, and returns at once. A load ends with STRIX_STATUS_CANCELLED, an answer with STRIX_FINISH_CANCELLED and the text
 * so far, also while the device computes: after what was submitted, slice_ms at most. NULL is nothing.
 *
 * Any thread, any time.
 */
void strix_canceller_cancel(StrixCanceller *canceller);

/**
 * Whether it was cancelled: 1 or 0. Of NULL, 0.
 *
 * Any thread.
 */
int32_t strix_canceller_is_cancelled(StrixCanceller *canceller);

/**
 * Lets a canceller of strix_canceller_new be given to further calls. What it has cancelled stays so, if it has ended.
 *
 * Any thread.
 */
void strix_canceller_reset(StrixCanceller *canceller);

/**
 * Frees a canceller; nothing is cancelled by that. NULL is nothing.
 *
 * No thread may use it any more.
 */
void strix_canceller_free(StrixCanceller *canceller);

/**
 * Waits for the next token. STRIX_STATUS_OK: token is filled. STRIX_STATUS_END: the answer has ended, and token is as it was.
 *
 * What token points to is there until the next call with this generation. One thread at a time.
 */
StrixStatus strix_generation_next(StrixGeneration *generation,
                                  StrixToken *token,
                                  StrixError **error);

/**
 * Waits for the end, and gives the whole answer, which is then in the conversation. The generation has nothing more to give,
 * and is still to be freed.
 *
 * The caller frees answer. One thread at a time.
 */
StrixStatus strix_generation_finish(StrixGeneration *generation,
                                    StrixAnswer **answer,
                                    StrixError **error);

/**
 * Ends an answer with the tokens that were taken so far, and returns at once; whoever waits for a token has
 * STRIX_STATUS_END. NULL is nothing.
 *
 * Any thread, also while another waits in strix_generation_next; not after strix_generation_free: a canceller of
 * strix_generation_canceller may be used then too.
 */
void strix_generation_cancel(StrixGeneration *generation);

/**
 * A canceller of this answer, which may outlive it. NULL of NULL.
 *
 * The caller frees it. Any thread.
 */
StrixCanceller *strix_generation_canceller(StrixGeneration *generation);

/**
 * Cancels an answer, unless it has ended, and frees it. The tokens that were taken stay in the conversation; if there are
 * none, the question was never asked. Where it is the last handle of its model, that is freed too, and waited for as
 * strix_model_free says. NULL is nothing.
 *
 * No thread may use it any more.
 */
void strix_generation_free(StrixGeneration *generation);

/**
 * Has a function called with each token, and once at the end, in place of taking them. The generation has nothing more to
 * give, and is still to be freed, at any time: the answer goes on. Tokens that came before are told within this call.
 *
 * What user points to must be there until the last event was told. canceller may be NULL; else the caller frees it. Any
 * thread.
 */
StrixStatus strix_generation_listen(StrixGeneration *generation,
                                    StrixEventCallback callback,
                                    void *user,
                                    StrixCanceller **canceller,
                                    StrixError **error);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* STRIX_H */
