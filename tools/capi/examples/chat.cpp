// A conversation about a picture. Usage: chat PICTURE [MODEL]; then a question a line, and nothing to end.
#include <iostream>
#include <strix.hpp>

int main(int argc, char **argv) try {
    if (argc < 2) {
        std::cerr << "usage: chat PICTURE [MODEL]\n";
        return 2;
    }
    auto checkpoint = argc > 2 ? strix::Checkpoint(argv[2]) : strix::Checkpoint::nano();
    strix::Model model(checkpoint);
    strix::Session session = model.session();
    session.add(strix::Image(argv[1]));
    for (std::string question; std::getline(std::cin, question) && !question.empty();) {
        strix::Generation generation = session.ask(question);
        for (const strix::Token &token : generation) std::cout << token.text << std::flush;
        std::cout << '\n';
    }
} catch (const strix::Error &error) {
    std::cerr << error.what() << '\n';
    return 1;
}
