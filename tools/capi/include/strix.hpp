// strix.hpp: strix.h for C++17. Handles are objects, errors are exceptions, callbacks are functions.
//
// Objects may be moved, and not copied. What strix.h says of threads holds here. What a callback throws is kept, and what it
// belongs to is cancelled: the exception of progress is thrown again by Model, that of on_token is given to on_end. What a Log
// or on_end throws has nowhere to go.
#ifndef STRIX_HPP
#define STRIX_HPP

#include <cstdint>
#include <exception>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <strix.h>

#if defined(__SANITIZE_THREAD__)
#define STRIX_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define STRIX_TSAN 1
#endif
#endif
#ifdef STRIX_TSAN
extern "C" void __tsan_acquire(void *);
extern "C" void __tsan_release(void *);
#endif

namespace strix {

/// What a call failed with.
class Error : public std::runtime_error {
public:
    Error(StrixStatus status, const char *message, std::vector<StrixRemedy> remedies = {})
        : std::runtime_error(message), status_(status), remedies_(std::move(remedies)) {}

    StrixStatus status() const noexcept { return status_; }
    /// Changes each of which would let what failed succeed.
    const std::vector<StrixRemedy> &remedies() const noexcept { return remedies_; }

private:
    StrixStatus status_;
    std::vector<StrixRemedy> remedies_;
};

namespace detail {

/// Tells ThreadSanitizer what it does not see: the library's locks, by which a listener goes from thread to thread.
class Handover {
public:
#ifdef STRIX_TSAN
    explicit Handover(void *what) noexcept : what_(what) { __tsan_acquire(what_); }
    ~Handover() { __tsan_release(what_); }
#else
    explicit Handover(void *) noexcept {}
    ~Handover() {}
#endif
    Handover(const Handover &) = delete;
    Handover &operator=(const Handover &) = delete;

#ifdef STRIX_TSAN
private:
    void *what_;
#endif
};

template <typename T, void (*Free)(T *)> struct Deleter {
    void operator()(T *handle) const noexcept { Free(handle); }
};
template <typename T, void (*Free)(T *)> using Handle = std::unique_ptr<T, Deleter<T, Free>>;

/// Throws what a call failed with; else gives its status.
inline StrixStatus check(StrixStatus status, StrixError *raw) {
    Handle<StrixError, strix_error_free> error(raw);
    if (static_cast<int32_t>(status) >= 0) return status;
    std::vector<StrixRemedy> remedies;
    for (size_t i = 0; i < strix_error_num_remedies(error.get()); i++) {
        StrixRemedy remedy{};
        remedy.size = sizeof remedy;
        strix_error_remedy(error.get(), i, &remedy, nullptr);
        remedies.push_back(remedy);
    }
    throw Error(status, strix_error_message(error.get()), std::move(remedies));
}

/// Calls a function of strix.h whose last argument is the place of an error.
template <typename Function, typename... Args> StrixStatus call(Function function, Args... args) {
    StrixError *error = nullptr;
    StrixStatus status = function(args..., &error);
    return check(status, error);
}

/// The same of one with a handle for a result, which comes last but for the error.
template <typename T, typename Function, typename... Args> T *made(Function function, Args... args) {
    T *handle = nullptr;
    call(function, args..., &handle);
    return handle;
}

/// A struct with its size, all zeros behind it.
template <typename T> T sized() {
    T value{};
    value.size = sizeof value;
    return value;
}

/// A struct that is filled.
template <typename T, typename Function, typename... Args> T filled(Function function, Args... args) {
    T value = sized<T>();
    call(function, args..., &value);
    return value;
}

/// A list that is asked for its length first.
template <typename T, typename Ask> std::vector<T> listed(Ask ask) {
    size_t number = 0;
    ask(static_cast<T *>(nullptr), size_t(0), &number);
    std::vector<T> values(number);
    ask(values.data(), values.size(), &number);
    values.resize(number);
    return values;
}

} // namespace detail

/// Is told messages: level, part, text. It is called by several threads at once.
using LogCallback = std::function<void(StrixLogLevel, std::string_view, std::string_view)>;

/// Where messages go. It must be there until all that it was given to is gone.
class Log {
public:
    explicit Log(LogCallback callback, StrixLogLevel level = STRIX_LOG_LEVEL_WARN) : callback_(std::move(callback)) {
        log_.size = sizeof log_;
        log_.level = level;
        log_.user = this;
        // What it throws has nowhere to go.
        log_.callback = [](void *user, StrixLogLevel level, const char *target, const char *message) noexcept {
            try {
                static_cast<Log *>(user)->callback_(level, target, message);
            } catch (...) {
            }
        };
    }
    Log(const Log &) = delete;
    Log &operator=(const Log &) = delete;
    const StrixLog *get() const noexcept { return &log_; }

private:
    LogCallback callback_;
    StrixLog log_{};
};

/// Cancels what it was given to, from any thread.
class Canceller {
public:
    Canceller() : handle_(strix_canceller_new()) {}
    explicit Canceller(StrixCanceller *handle) : handle_(handle) {}
    void cancel() const noexcept { strix_canceller_cancel(handle_.get()); }
    void reset() const noexcept { strix_canceller_reset(handle_.get()); }
    bool is_cancelled() const noexcept { return strix_canceller_is_cancelled(handle_.get()) != 0; }
    StrixCanceller *get() const noexcept { return handle_.get(); }

private:
    detail::Handle<StrixCanceller, strix_canceller_free> handle_;
};

/// The adapters of this machine, best first.
class Devices {
public:
    Devices() : handle_(detail::made<StrixDevices>(strix_devices_list, nullptr)) {}
    size_t size() const noexcept { return strix_devices_count(handle_.get()); }
    StrixDeviceInfo operator[](size_t index) const {
        return detail::filled<StrixDeviceInfo>(strix_devices_get, handle_.get(), index);
    }

private:
    detail::Handle<StrixDevices, strix_devices_free> handle_;
};

/// An opened device.
class Device {
public:
    /// The best, or one that has these words in its name.
    explicit Device(const std::string &adapter = {}) {
        auto options = detail::sized<StrixDeviceOptions>();
        if (!adapter.empty()) options.adapter = adapter.c_str();
        handle_.reset(detail::made<StrixDevice>(strix_device_open, &options));
    }
    StrixDeviceInfo info() const { return detail::filled<StrixDeviceInfo>(strix_device_info, handle_.get()); }
    StrixDevice *get() const noexcept { return handle_.get(); }

private:
    detail::Handle<StrixDevice, strix_device_free> handle_;
};

/// A picture.
class Image {
public:
    explicit Image(const std::string &path, const StrixImageOptions *options = nullptr)
        : handle_(detail::made<StrixImage>(strix_image_open, path.c_str(), options)) {}
    /// The bytes of a PNG, JPEG, WebP, GIF, BMP or TIFF.
    Image(const void *bytes, size_t len, const StrixImageOptions *options = nullptr)
        : handle_(detail::made<StrixImage>(strix_image_decode, static_cast<const uint8_t *>(bytes), len, options)) {}
    explicit Image(const StrixPixels &pixels, const StrixImageOptions *options = nullptr)
        : handle_(detail::made<StrixImage>(strix_image_from_pixels, &pixels, options)) {}
    std::pair<uint32_t, uint32_t> size() const {
        uint32_t width = 0, height = 0;
        detail::call(strix_image_size, handle_.get(), &width, &height);
        return {width, height};
    }
    StrixImage *get() const noexcept { return handle_.get(); }

private:
    detail::Handle<StrixImage, strix_image_free> handle_;
};

/// Where the parts of a model live, or would.
class Plan {
public:
    explicit Plan(StrixPlan *handle) : handle_(handle) {}
    StrixPlanInfo info() const { return detail::filled<StrixPlanInfo>(strix_plan_info, handle_.get()); }
    StrixPlanPart part(size_t index) const {
        return detail::filled<StrixPlanPart>(strix_plan_part, handle_.get(), index);
    }

private:
    detail::Handle<StrixPlan, strix_plan_free> handle_;
};

/// How a model is loaded: `options` has the numbers.
struct LoadOptions {
    StrixLoadOptions options = detail::sized<StrixLoadOptions>();
    /// Is told how far loading is; `false` ends it with STRIX_STATUS_CANCELLED.
    std::function<bool(const StrixProgress &)> progress;
    std::string cache_dir;

    /// Of all of them but progress, as long as they are there.
    StrixLoadOptions raw() const {
        StrixLoadOptions raw = options;
        if (!cache_dir.empty()) raw.cache_dir = cache_dir.c_str();
        return raw;
    }
};

/// The files of a model.
class Checkpoint {
public:
    /// A folder, or a file of weights with its config beside it.
    explicit Checkpoint(const std::string &path, const Log *log = nullptr)
        : handle_(detail::made<StrixCheckpoint>(strix_checkpoint_open, path.c_str(), nullptr, log ? log->get() : nullptr)) {}
    /// The small model that is part of the library.
    static Checkpoint nano(const Log *log = nullptr) {
        return Checkpoint(detail::made<StrixCheckpoint>(strix_checkpoint_nano, log ? log->get() : nullptr));
    }
    /// Files in memory, whose bytes are there as long as the checkpoint and its models, sessions and answers.
    explicit Checkpoint(const std::vector<StrixNamedBytes> &files)
        : handle_(detail::made<StrixCheckpoint>(strix_checkpoint_from_memory, files.data(), files.size(), nullptr)) {}
    explicit Checkpoint(StrixCheckpoint *handle) : handle_(handle) {}
    StrixCheckpointInfo info() const {
        return detail::filled<StrixCheckpointInfo>(strix_checkpoint_info, handle_.get());
    }
    /// What a model of it would take. Throws what does not fit, with remedies.
    Plan plan(const LoadOptions &options = {}) const {
        StrixLoadOptions raw = options.raw();
        return Plan(detail::made<StrixPlan>(strix_plan_new, handle_.get(), &raw));
    }
    StrixCheckpoint *get() const noexcept { return handle_.get(); }

private:
    detail::Handle<StrixCheckpoint, strix_checkpoint_free> handle_;
};

/// A whole answer.
class Answer {
public:
    explicit Answer(StrixAnswer *handle) : handle_(handle) {}
    StrixAnswerInfo info() const { return detail::filled<StrixAnswerInfo>(strix_answer_info, handle_.get()); }
    std::string text() const {
        StrixAnswerInfo known = info();
        return std::string(known.text, known.text_len);
    }
    StrixFinish finish() const { return info().finish; }
    /// A token, with its log-probabilities if they were asked for.
    StrixToken token(size_t index) const { return detail::filled<StrixToken>(strix_answer_token, handle_.get(), index); }

private:
    detail::Handle<StrixAnswer, strix_answer_free> handle_;
};

/// A token: what its views see is there until the next token.
struct Token {
    uint32_t id;
    std::string_view text;
    float log_prob;
    const StrixLogProb *top;
    size_t num_top;
};

/// An answer while it is generated: `for (strix::Token token : generation)`.
class Generation {
public:
    explicit Generation(StrixGeneration *handle) : handle_(handle) {}

    /// Waits for the next token; nothing at the end.
    std::optional<Token> next() {
        auto token = detail::sized<StrixToken>();
        if (detail::call(strix_generation_next, handle_.get(), &token) == STRIX_STATUS_END) return std::nullopt;
        return Token{token.id, {token.text, token.text_len}, token.log_prob, token.top, token.num_top};
    }
    /// Waits for the end.
    Answer finish() { return Answer(detail::made<StrixAnswer>(strix_generation_finish, handle_.get())); }
    /// From any thread.
    void cancel() const noexcept { strix_generation_cancel(handle_.get()); }
    Canceller canceller() const { return Canceller(strix_generation_canceller(handle_.get())); }

    /// Has functions called on the model's thread. on_token returns whether to go on; on_end gets the answer, or what
    /// failed: an Error, or what on_token threw.
    Canceller listen(std::function<bool(const Token &)> on_token,
                     std::function<void(const StrixAnswer *, std::exception_ptr)> on_end) {
        auto listener = std::make_unique<Listener>();
        listener->on_token = std::move(on_token);
        listener->on_end = std::move(on_end);
        StrixCanceller *canceller = nullptr;
        { detail::Handover handover(listener.get()); }
        detail::call(strix_generation_listen, handle_.get(), &Listener::told, static_cast<void *>(listener.get()), &canceller);
        // It deletes itself with the last event.
        (void)listener.release();
        return Canceller(canceller);
    }

    class Iterator {
    public:
        using iterator_category = std::input_iterator_tag;
        using value_type = Token;
        using difference_type = std::ptrdiff_t;
        using pointer = const Token *;
        using reference = const Token &;
        Iterator() = default;
        explicit Iterator(Generation *of) : of_(of) { ++*this; }
        reference operator*() const { return *token_; }
        pointer operator->() const { return &*token_; }
        Iterator &operator++() {
            token_ = of_->next();
            if (!token_) of_ = nullptr;
            return *this;
        }
        bool operator!=(const Iterator &other) const { return of_ != other.of_; }
        bool operator==(const Iterator &other) const { return of_ == other.of_; }

    private:
        Generation *of_ = nullptr;
        std::optional<Token> token_;
    };
    Iterator begin() { return Iterator(this); }
    Iterator end() { return {}; }

private:
    struct Listener {
        std::function<bool(const Token &)> on_token;
        std::function<void(const StrixAnswer *, std::exception_ptr)> on_end;
        std::exception_ptr thrown;

        static int32_t told(void *user, const StrixEvent *event) noexcept {
            auto *self = static_cast<Listener *>(user);
            detail::Handover handover(user);
            try {
                if (event->kind == STRIX_EVENT_KIND_TOKEN) {
                    const StrixToken &token = *event->token;
                    Token given{token.id, {token.text, token.text_len}, token.log_prob, token.top, token.num_top};
                    return self->on_token(given) ? 0 : 1;
                }
                std::unique_ptr<Listener> last(self);
                if (event->kind == STRIX_EVENT_KIND_FAILED) {
                    Error failed(strix_error_code(event->error), strix_error_message(event->error));
                    last->on_end(nullptr, std::make_exception_ptr(failed));
                } else {
                    last->on_end(last->thrown ? nullptr : event->answer, last->thrown);
                }
            } catch (...) {
                if (event->kind == STRIX_EVENT_KIND_TOKEN) self->thrown = std::current_exception();
            }
            return 1;
        }
    };

    detail::Handle<StrixGeneration, strix_generation_free> handle_;
};

/// How an answer is generated: `options` has the numbers.
struct AskOptions {
    StrixAskOptions options = detail::sized<StrixAskOptions>();
    std::vector<std::string> stop;
    std::string json_schema, regex, lark;
    std::vector<StrixLogitBias> logit_bias;
};

class Session;

/// A model on a device. Any number of threads may use it.
class Model {
public:
    explicit Model(const Checkpoint &checkpoint, const LoadOptions &options = {}) {
        StrixLoadOptions raw = options.raw();
        struct Watch {
            const LoadOptions *options;
            std::exception_ptr thrown;
        } watch{&options, nullptr};
        if (options.progress) {
            raw.progress_user = &watch;
            raw.progress = [](void *user, const StrixProgress *progress) noexcept -> int32_t {
                auto *watch = static_cast<Watch *>(user);
                try {
                    return watch->options->progress(*progress) ? 0 : 1;
                } catch (...) {
                    watch->thrown = std::current_exception();
                }
                return 1;
            };
        }
        StrixModel *model = nullptr;
        StrixError *error = nullptr;
        StrixStatus status = strix_model_load(checkpoint.get(), &raw, &model, &error);
        handle_.reset(model);
        if (watch.thrown) {
            strix_error_free(error);
            std::rethrow_exception(watch.thrown);
        }
        detail::check(status, error);
    }
    StrixModelInfo info() const { return detail::filled<StrixModelInfo>(strix_model_info, handle_.get()); }
    StrixActivity activity() const { return detail::filled<StrixActivity>(strix_model_activity, handle_.get()); }
    Plan plan() const { return Plan(detail::made<StrixPlan>(strix_model_plan, handle_.get())); }
    std::vector<uint32_t> tokenize(const std::string &text, bool add_bos = false) const {
        return detail::listed<uint32_t>([&](uint32_t *ids, size_t room, size_t *number) {
            detail::call(strix_model_tokenize, handle_.get(), text.c_str(), add_bos ? 1 : 0, ids, room, number);
        });
    }
    std::string detokenize(const std::vector<uint32_t> &ids) const {
        auto bytes = detail::listed<uint8_t>([&](uint8_t *bytes, size_t room, size_t *number) {
            detail::call(strix_model_detokenize, handle_.get(), ids.data(), ids.size(), bytes, room, number);
        });
        return std::string(bytes.begin(), bytes.end());
    }
    /// What the decoder sees of a picture: positions_per_picture rows of hidden_size values.
    std::vector<float> encode(const Image &picture) const {
        StrixModelInfo known = info();
        std::vector<float> values(size_t(known.positions_per_picture) * known.hidden_size);
        size_t number = 0;
        detail::call(strix_model_encode, handle_.get(), picture.get(), values.data(), values.size(), &number);
        return values;
    }
    Session session() const;
    Session restore(const std::string &path) const;
    StrixModel *get() const noexcept { return handle_.get(); }

private:
    detail::Handle<StrixModel, strix_model_free> handle_;
};

/// A conversation.
class Session {
public:
    explicit Session(StrixSession *handle) : handle_(handle) {}
    Session fork() const { return Session(detail::made<StrixSession>(strix_session_fork, handle_.get())); }
    void add(const Image &picture) { detail::call(strix_session_add_image, handle_.get(), picture.get()); }
    void supply(const Image &picture) { detail::call(strix_session_supply_image, handle_.get(), picture.get()); }
    Generation ask(const std::string &question, const AskOptions &options = {}) {
        return begin(options, strix_session_ask, handle_.get(), question.c_str());
    }
    Generation complete(const std::string &prompt, const AskOptions &options = {}) {
        return begin(options, strix_session_complete, handle_.get(), prompt.c_str());
    }
    Generation retry(const AskOptions &options = {}) { return begin(options, strix_session_retry, handle_.get()); }
    Generation resume(uint32_t max_tokens) {
        return Generation(detail::made<StrixGeneration>(strix_session_resume, handle_.get(), max_tokens));
    }
    /// The logits of all tokens behind a prompt of tokens; STRIX_PICTURE is the place of a picture.
    std::vector<float> logits(const std::vector<uint32_t> &ids, size_t vocab_size) {
        std::vector<float> values(vocab_size);
        size_t number = 0;
        detail::call(strix_session_logits, handle_.get(), ids.data(), ids.size(), values.data(), values.size(), &number);
        values.resize(number < vocab_size ? number : vocab_size);
        return values;
    }
    void save(const std::string &path, const StrixSaveOptions *options = nullptr) {
        detail::call(strix_session_save, handle_.get(), path.c_str(), options);
    }
    size_t num_turns() const {
        size_t number = 0;
        detail::call(strix_session_num_turns, handle_.get(), &number);
        return number;
    }
    /// Its texts are there until the next call.
    StrixTurn turn(size_t index) const { return detail::filled<StrixTurn>(strix_session_turn, handle_.get(), index); }
    StrixUsage usage() const { return detail::filled<StrixUsage>(strix_session_usage, handle_.get()); }
    void undo() { detail::call(strix_session_undo, handle_.get()); }
    void reset() { detail::call(strix_session_reset, handle_.get()); }
    void set_system(const std::string &text) { detail::call(strix_session_set_system, handle_.get(), text.c_str()); }
    void set_template(StrixTemplate style) { detail::call(strix_session_set_template, handle_.get(), style); }
    StrixSession *get() const noexcept { return handle_.get(); }

private:
    template <typename Function, typename... Args>
    static Generation begin(const AskOptions &options, Function function, Args... args) {
        StrixAskOptions raw = options.options;
        std::vector<const char *> stop;
        for (const std::string &text : options.stop) stop.push_back(text.c_str());
        if (!stop.empty()) raw.stop = stop.data(), raw.num_stop = stop.size();
        if (!options.logit_bias.empty()) {
            raw.logit_bias = options.logit_bias.data(), raw.num_logit_bias = options.logit_bias.size();
        }
        auto constrain = [&](const std::string &text, StrixConstraintKind kind) {
            if (!text.empty()) raw.constraint = text.c_str(), raw.constraint_kind = kind;
        };
        constrain(options.json_schema, STRIX_CONSTRAINT_KIND_JSON_SCHEMA);
        constrain(options.regex, STRIX_CONSTRAINT_KIND_REGEX);
        constrain(options.lark, STRIX_CONSTRAINT_KIND_LARK);
        return Generation(detail::made<StrixGeneration>(function, args..., &raw));
    }

    detail::Handle<StrixSession, strix_session_free> handle_;
};

inline Session Model::session() const { return Session(detail::made<StrixSession>(strix_session_new, handle_.get())); }

inline Session Model::restore(const std::string &path) const {
    return Session(detail::made<StrixSession>(strix_session_restore, handle_.get(), path.c_str()));
}

} // namespace strix

#endif
