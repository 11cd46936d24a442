//! Codes of errors.

use strix_engine::Error as EngineError;
use strix_model::Error;

/// What a function returns. Errors are negative; a later library may have some that this header does not name.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StrixStatus {
    /// Done.
    Ok = 0,
    /// There is nothing more: the answer has ended.
    End = 1,
    /// A pointer is NULL that must not be.
    NullPointer = -1,
    /// A text is not UTF-8.
    BadText = -2,
    /// A struct's size was not set, or it asks for what a newer library has.
    StructSize = -3,
    /// A number is out of its range.
    OutOfRange = -4,
    /// Another thread, or a callback, is within a function of this handle.
    InUse = -5,
    /// The library was built without what was asked for.
    Unsupported = -6,
    /// A fault of Strix: it panicked within. The handle may be freed, and not be used further.
    Internal = -7,
    /// It was cancelled.
    Cancelled = -8,
    /// A file could not be opened, read or written.
    Io = -20,
    /// A file is not what it should be.
    File = -21,
    /// config.json asks for something contradictory or unsupported.
    Config = -22,
    /// A tensor is missing, or has another shape or type than the config says.
    Tensor = -23,
    /// The folder has no tokenizer.
    NoTokenizer = -24,
    /// The weights are of another type than was asked for.
    Dtype = -25,
    /// A picture could not be decoded.
    Image = -30,
    /// The conversation does not allow it: a reply is missing, or there is no question.
    Prompt = -31,
    /// The prompt takes more positions than the context holds.
    PromptTooLong = -32,
    /// The context is full.
    ContextFull = -33,
    /// Places for pictures and pictures are not equally many.
    PictureMismatch = -34,
    /// A token is not in the vocabulary.
    UnknownToken = -35,
    /// The last question of the session is still being answered.
    Busy = -36,
    /// No answer was cut off that could be gone on with.
    NothingToResume = -37,
    /// A picture of a restored session has to be given again.
    PictureAbsent = -38,
    /// Too many requests wait.
    QueueFull = -39,
    /// The KV cache has no room.
    CacheFull = -40,
    /// Options contradict each other or the model.
    Option = -41,
    /// What an answer is to be (schema, regex, grammar) cannot be kept to.
    Constraint = -42,
    /// The context is longer than the model or the device holds; a remedy says what fits.
    ContextTooLong = -43,
    /// No adapter, or none of that name.
    NoAdapter = -50,
    /// The adapter cannot run the kernels.
    AdapterTooSmall = -51,
    /// The device has too little memory; remedies say what fits.
    OutOfMemory = -52,
    /// The device was lost. Free its models, open it and load anew.
    DeviceLost = -53,
    /// Another failure of the device or its driver.
    Device = -54,
    /// An error that has no code of its own.
    Other = -99,
}

impl StrixStatus {
    /// That of an error.
    pub(crate) fn of(error: &Error) -> Self {
        match error {
            Error::Io { .. } => Self::Io,
            Error::File { .. } | Error::Exists { .. } => Self::File,
            Error::Config(_) | Error::KvHeads { .. } => Self::Config,
            Error::Tensor { .. } => Self::Tensor,
            Error::Image { .. } => Self::Image,
            Error::Prompt(_) | Error::EmptyPrompt => Self::Prompt,
            Error::PromptTooLong(_) => Self::PromptTooLong,
            Error::ContextFull { .. } => Self::ContextFull,
            Error::PictureMismatch { .. } => Self::PictureMismatch,
            Error::UnknownToken { .. } => Self::UnknownToken,
            Error::NoTokenizer => Self::NoTokenizer,
            Error::PoolFull { .. } => Self::CacheFull,
            Error::Busy => Self::Busy,
            Error::NothingToResume => Self::NothingToResume,
            Error::PictureAbsent { .. } => Self::PictureAbsent,
            Error::QueueFull { .. } => Self::QueueFull,
            Error::Shared(error) => Self::of(error),
            Error::Engine(error) => Self::of_device(error),
            Error::OutOfRange { .. } | Error::StopText { .. } => Self::OutOfRange,
            Error::ContextTooLong { .. } => Self::ContextTooLong,
            Error::DeviceMemory(_) => Self::OutOfMemory,
            Error::ChunkTooLarge { .. } | Error::Option(_) => Self::Option,
            Error::Converted { .. } => Self::Dtype,
            Error::Constraint { .. } => Self::Constraint,
            Error::Interrupted => Self::Cancelled,
            Error::LeftOut { .. } => Self::Unsupported,
            Error::NotACandidate { .. } => Self::UnknownToken,
            Error::Stopped => Self::Internal,
            _ => Self::Other,
        }
    }

    /// That of an error of a device.
    pub(crate) fn of_device(error: &EngineError) -> Self {
        match error {
            EngineError::NoAdapter(_) => Self::NoAdapter,
            EngineError::TooSmall { .. } => Self::AdapterTooSmall,
            EngineError::BufferTooLarge { .. } | EngineError::OutOfMemory { .. } => Self::OutOfMemory,
            EngineError::Lost(_) | EngineError::TooLong { .. } => Self::DeviceLost,
            EngineError::Read { .. } => Self::Io,
            EngineError::NoFamily { .. } => Self::OutOfRange,
            EngineError::Unsupported(_) => Self::Unsupported,
            _ => Self::Device,
        }
    }
}
