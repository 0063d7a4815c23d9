#include "trace.hpp"

#include <fmt/format.h>

#include <fstream>
#include <sstream>
#include <string_view>

#include "kvcache/error.hpp"

namespace trigo_bench {
namespace {

constexpr std::string_view kBoard = "[Board ";
constexpr std::string_view kBoardEnd = "]\n\n";
constexpr kvcache::TokenId kStart = 1;

class Reader {
 public:
  explicit Reader(const std::filesystem::path& path) : path_(path), file_(path) {
    if (!file_) {
      throw kvcache::Error(kvcache::ErrorCode::invalid_argument,
                           fmt::format("cannot read the trace {}", path.string()));
    }
  }

  std::vector<Search> read() {
    std::vector<Search> searches;
    bool new_game = false;
    while (next_line()) {
      if (name_ == "game") {
        new_game = true;
      } else if (name_ == "search") {
        searches.push_back({new_game, {}});
        new_game = false;
      } else if (name_ == "policy" || name_ == "value") {
        if (searches.empty()) {
          refuse("comes before the first search");
        }
        searches.back().requests.push_back(request());
      } else if (name_ == "tree" || name_ == "parents") {
        fill_tree(searches);
      } else if (name_ != "move") {
        refuse("is none of game, move, search, policy, tree, parents and value");
      }
    }
    return searches;
  }

 private:
  bool next_line() {
    std::string line;
    if (!std::getline(file_, line)) {
      return false;
    }
    ++line_;
    std::istringstream words(line);
    std::int64_t first = 0;
    std::int64_t second = 0;
    if (!(words >> name_ >> first >> second)) {
      refuse("must have a name and two numbers");
    }
    numbers_.clear();
    for (std::int64_t number = 0; words >> number;) {
      numbers_.push_back(number);
    }
    if (!words.eof()) {
      refuse("must have whole numbers behind its name");
    }
    return true;
  }

  Request request() const {
    Request found{name_ == "policy" ? Request::Kind::policy : Request::Kind::value, {}, {}, {}, {}};
    if (numbers_.empty() || numbers_.front() != kStart) {
      refuse("must begin with the token 1");
    }
    std::string text;
    for (const std::int64_t token : std::vector(numbers_.begin() + 1, numbers_.end())) {
      if (token < 10 || token > 127) {
        refuse(fmt::format("has the token {}, which is no character", token));
      }
      text += static_cast<char>(token);
    }
    const auto end = text.find(kBoardEnd);
    if (!text.starts_with(kBoard) || end == std::string::npos) {
      refuse("must begin with a board's shape");
    }
    found.shape = text.substr(kBoard.size(), end - kBoard.size());
    const std::string moves = text.substr(end + kBoardEnd.size());
    std::istringstream words(moves.substr(0, moves.find(';')));  // a score follows
    for (std::string word; words >> word;) {
      if (word.back() != '.') {
        found.moves.push_back(word);
      }
    }
    return found;
  }

  void fill_tree(std::vector<Search>& searches) const {
    if (searches.empty() || searches.back().requests.empty() ||
        searches.back().requests.back().kind != Request::Kind::policy) {
      refuse("must follow a policy");
    }
    Request& of = searches.back().requests.back();
    if (name_ == "tree") {
      of.tokens = numbers_;
      return;
    }
    for (const std::int64_t parent : numbers_) {
      if (parent < -1 || parent >= static_cast<std::int64_t>(of.parents.size())) {
        refuse("must name earlier nodes, or -1");
      }
      of.parents.push_back(static_cast<std::int32_t>(parent));
    }
    if (of.parents.size() != of.tokens.size()) {
      refuse("must have as many numbers as the tree before it");
    }
  }

  [[noreturn]] void refuse(const std::string& rule) const {
    throw kvcache::Error(kvcache::ErrorCode::invalid_argument,
                         fmt::format("{}, line {}: \"{}\" {}", path_.string(), line_, name_, rule));
  }

  std::filesystem::path path_;
  std::ifstream file_;
  std::size_t line_ = 0;
  std::string name_;
  std::vector<std::int64_t> numbers_;
};

}  // namespace

std::vector<Search> read_trace(const std::filesystem::path& path) { return Reader(path).read(); }

std::string number_of(std::size_t count) {
  return count % 2 == 0 ? fmt::format("{}. ", count / 2 + 1) : "";
}

std::string text_of(const Request& request, std::size_t count) {
  std::string text =
      fmt::format("{}{}{}{}", static_cast<char>(kStart), kBoard, request.shape, kBoardEnd);
  for (std::size_t i = 0; i < count; ++i) {
    text += number_of(i) + request.moves[i] + (i % 2 == 0 ? ' ' : '\n');
  }
  return text;
}

std::vector<kvcache::TokenId> tokens_of(const std::string& text) {
  return {text.begin(), text.end()};  // ASCII
}

}  // namespace trigo_bench
