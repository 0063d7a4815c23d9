// A generation that goes on as its tokens are asked for.
#pragma once

#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "kvcache/generate.hpp"

namespace kvcache::python {

/// Who asks for tokens and who computes them, in a thread of its own, by turns: generate() calls
/// back for each token, and an iterator is asked for each. One thread asks at a time.
class Generation {
 public:
  struct Token {
    std::size_t sample;
    TokenId token;
    std::string text;
  };
  using Generate = std::function<Generated(const NewTokenCallback&)>;

  /// Nothing is computed yet. `waiting` is called several times a second while somebody waits, and
  /// may throw.
  Generation(Generate generate, std::function<void()> waiting);
  /// As stop().
  ~Generation();
  Generation(const Generation&) = delete;
  Generation& operator=(const Generation&) = delete;

  /// The next token; nothing behind the last.
  /// @throws what generate() or `waiting` does; after the latter the token can be asked for again
  std::optional<Token> next();

  /// Lets it run to its end.
  /// @throws as next(); where `waiting` does, the generation ends, and the sequence is as it was
  const Generated& result();

  /// Ends the text after the token that is being computed (FinishReason::cancelled).
  void stop() noexcept;

  [[nodiscard]] bool ended();

 private:
  enum class Order { wait, one_token, all, stop, undo };

  void run() noexcept;
  bool on_token(const NewToken& token);
  void order(Order order);
  void wait_for_answer(std::unique_lock<std::mutex>& lock);
  const Generated& answer();

  Generate generate_;
  std::function<void()> waiting_;

  std::mutex mutex_;
  std::condition_variable changed_;
  Order order_ = Order::wait;
  std::optional<Token> token_;
  std::optional<Generated> generated_;
  std::exception_ptr failed_;
  bool ended_ = false;

  std::thread thread_;  // the last member: it uses the others
};

}  // namespace kvcache::python
