// strix.hpp: objects, exceptions, ranges, and callbacks that throw. Usage: check PICTURE FOLDER NANO [quick]
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <fstream>
#include <future>
#include <iostream>
#include <iterator>
#include <mutex>
#include <sstream>
#include <strix.hpp>
#include <thread>
#include <type_traits>

static int failures = 0;

#define CHECK(condition)                                                                        \
    do {                                                                                        \
        if (!(condition)) {                                                                     \
            std::cout << "FAILED " << __FILE__ << ':' << __LINE__ << ": " << #condition << '\n'; \
            failures++;                                                                         \
        }                                                                                       \
    } while (false)

/// What a call throws.
template <typename Call> static StrixStatus thrown(Call call) {
    try {
        call();
    } catch (const strix::Error &error) {
        std::cout << "  " << strix_status_name(error.status()) << ": " << error.what() << '\n';
        return error.status();
    }
    return STRIX_STATUS_OK;
}

static void check_opening(const std::string &picture) {
    strix::Devices devices;
    for (size_t i = 0; i < devices.size(); i++) std::cout << "device " << i << ": " << devices[i].name << '\n';
    CHECK(devices.size() > 0);
    CHECK(thrown([] { strix::Device("no such adapter"); }) == STRIX_STATUS_NO_ADAPTER);
    CHECK(thrown([] { strix::Checkpoint("nowhere"); }) == STRIX_STATUS_IO);
    CHECK(thrown([] { strix::Image("junk", 4); }) == STRIX_STATUS_IMAGE);
    std::ifstream file(picture, std::ios::binary);
    std::string bytes((std::istreambuf_iterator<char>(file)), {});
    CHECK(strix::Image(bytes.data(), bytes.size()).size() == strix::Image(picture).size());

    uint8_t gray[2 * 2 * 3] = {0};
    auto pixels = strix::detail::sized<StrixPixels>();
    pixels.data = gray, pixels.len = sizeof gray, pixels.width = pixels.height = 2;
    CHECK(strix::Image(pixels).size() == std::make_pair(2u, 2u));
    CHECK(thrown([] { strix::Checkpoint(std::vector<StrixNamedBytes>()); }) == STRIX_STATUS_FILE);

    strix::Checkpoint checkpoint = strix::Checkpoint::nano();
    CHECK(checkpoint.plan().info().device_bytes > 0);
    strix::LoadOptions options;
    options.options.device_memory = 1 << 20;
    try {
        checkpoint.plan(options);
        CHECK(false);
    } catch (const strix::Error &error) {
        CHECK(error.remedies().size() == 1 && error.remedies()[0].kind == STRIX_REMEDY_KIND_DEVICE_MEMORY);
    }
    strix::LoadOptions unread;
    unread.cache_dir = "\xff";
    CHECK(thrown([&] { checkpoint.plan(unread); }) == STRIX_STATUS_BAD_TEXT);
}

static strix::Model check_loading(bool quick) {
    std::atomic<int> messages{0};
    strix::Log log([&](StrixLogLevel, std::string_view, std::string_view) { messages++; }, STRIX_LOG_LEVEL_DEBUG);
    strix::LoadOptions options;
    strix::Checkpoint checkpoint = strix::Checkpoint::nano();
    if (!quick) {
        options.progress = [](const StrixProgress &) -> bool { throw std::runtime_error("thrown by progress"); };
        try {
            strix::Model model(checkpoint, options);
            CHECK(false);
        } catch (const std::runtime_error &error) {
            CHECK(std::string(error.what()) == "thrown by progress");
        }
        options.progress = [](const StrixProgress &progress) { return progress.done * 2 < progress.total; };
        CHECK(thrown([&] { strix::Model(checkpoint, options); }) == STRIX_STATUS_CANCELLED);
        options.options.log = log.get();
        options.progress = nullptr;
        strix::Model logged(checkpoint, options);
        CHECK(messages > 0);
        options.options.log = nullptr;
    }
    uint64_t done = 0;
    options.progress = [&](const StrixProgress &progress) { return done = progress.done, true; };
    strix::Model model(checkpoint, options);
    std::cout << "loaded " << done << " bytes on " << model.info().adapter << '\n';
    CHECK(done > 0);
    return model;
}

static void check_answers(const strix::Model &model, const std::string &picture, const std::string &folder) {
    strix::Session session = model.session();
    session.add(strix::Image(picture));
    strix::AskOptions options;
    options.options.log_probs = 1;
    options.options.top_log_probs = 2;
    strix::Generation generation = session.ask("What is in the picture?", options);
    std::string text;
    for (const strix::Token &token : generation) {
        text += token.text;
        CHECK(token.num_top == 2 && token.log_prob <= 0);
    }
    strix::Answer answer = generation.finish();
    std::cout << "answer: " << text << '\n';
    CHECK(answer.text() == text && answer.finish() == STRIX_FINISH_EOS);
    CHECK(answer.token(0).num_top == 2);
    CHECK(thrown([&] { generation.next(); }) == STRIX_STATUS_NOTHING_TO_RESUME);

    strix::AskOptions shaped;
    shaped.json_schema = R"({"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": false})";
    std::cout << "by schema: " << session.ask("How many?", shaped).finish().text() << '\n';
    shaped.json_schema = "[";
    CHECK(thrown([&] { session.ask("How many?", shaped); }) == STRIX_STATUS_CONSTRAINT);
    shaped.json_schema.clear();
    shaped.stop = {"circle", "star"};
    CHECK(session.retry(shaped).finish().finish() != STRIX_FINISH_CANCELLED);

    std::string path = folder + "/talk-cpp.session";
    session.save(path);
    strix::Session restored = model.restore(path);
    std::remove(path.c_str());
    CHECK(restored.num_turns() == session.num_turns() && std::strcmp(restored.turn(0).reply, text.c_str()) == 0);
    strix::Session forked = restored.fork();
    forked.undo();
    CHECK(forked.num_turns() + 1 == restored.num_turns() && forked.usage().pictures == 1);

    std::vector<uint32_t> ids = model.tokenize("a blue circle");
    CHECK(model.detokenize(ids) == "a blue circle");
    strix::Session plain = model.session();
    CHECK(plain.logits(ids, model.info().vocab_size).size() == model.info().vocab_size);
    CHECK(model.encode(strix::Image(picture)).size() > 0);
    CHECK(model.plan().info().num_parts > 0 && model.activity().encoded_pictures > 0);
}

static void check_threads(const strix::Model &model) {
    strix::AskOptions endless;
    endless.options.max_tokens = endless.options.min_tokens = 400;
    strix::Session session = model.session();
    {
        strix::Generation generation = session.ask("Go on.", endless);
        generation.next();
        std::thread canceller([&] { generation.cancel(); });
        while (generation.next()) {
        }
        canceller.join();
        CHECK(generation.finish().finish() == STRIX_FINISH_CANCELLED);
    }
    // To its end.
    std::promise<std::string> whole;
    std::string heard;
    session.reset();
    session.ask("What is this?").listen(
        [&](const strix::Token &token) { return heard += token.text, true; },
        [&](const StrixAnswer *answer, std::exception_ptr failed) {
            auto info = strix::detail::filled<StrixAnswerInfo>(strix_answer_info, answer);
            whole.set_value(failed ? "" : std::string(info.text));
        });
    std::string all = whole.get_future().get();
    std::cout << "heard: " << all << '\n';
    CHECK(all == heard && !all.empty());
    // What a callback throws arrives where the answer ends.
    std::promise<std::string> what;
    session.reset();
    session.ask("Go on.", endless)
        .listen([](const strix::Token &) -> bool { throw std::runtime_error("thrown by a callback"); },
                [&](const StrixAnswer *, std::exception_ptr failed) {
                    try {
                        if (failed) std::rethrow_exception(failed);
                        what.set_value("nothing");
                    } catch (const std::exception &error) {
                        what.set_value(error.what());
                    }
                });
    CHECK(what.get_future().get() == "thrown by a callback");
}

int main(int argc, char **argv) try {
    if (argc < 4) {
        std::cerr << "usage: check PICTURE FOLDER NANO [quick]\n";
        return 2;
    }
    std::string picture = argv[1], folder = argv[2];
    static_assert(std::is_move_constructible_v<strix::Model> && !std::is_copy_constructible_v<strix::Model>);
    static_assert(std::is_move_constructible_v<strix::Session> && !std::is_copy_constructible_v<strix::Session>);
    std::cout << std::unitbuf;
    check_opening(picture);
    strix::Model model = check_loading(argc > 4);
    check_answers(model, picture, folder);
    check_threads(model);
    std::cout << (failures == 0 ? "all of strix.hpp: ok\n" : "FAILED\n");
    return failures != 0;
} catch (const std::exception &error) {
    std::cout << "FAILED: " << error.what() << '\n';
    return 1;
}
