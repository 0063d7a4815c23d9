#include "bindings/generation.hpp"

#include <chrono>
#include <system_error>
#include <utility>

#include "bindings/errors.hpp"
#include "bindings/python_call.hpp"

namespace kvcache::python {
namespace {

constexpr std::chrono::milliseconds kLookUp{50};  // how soon a signal is noticed

/// Leaves generate(), which then puts the sequence back.
struct Undone {};

}  // namespace

Generation::Generation(Generate generate, std::function<void()> waiting)
    : generate_(std::move(generate)), waiting_(std::move(waiting)) {}

Generation::~Generation() { stop(); }

bool Generation::on_token(const NewToken& token) {
  std::unique_lock lock(mutex_);
  if (order_ == Order::one_token) {
    token_ = Token{token.sample, token.token, std::string(token.text)};
    order_ = Order::wait;
    changed_.notify_all();
    changed_.wait(lock, [&] { return order_ != Order::wait; });
  }
  if (order_ == Order::undo) {
    throw Undone();
  }
  return order_ != Order::stop;
}

void Generation::run() noexcept {
  std::optional<Generated> generated;
  std::exception_ptr failed;
  try {
    generated = generate_([this](const NewToken& token) { return on_token(token); });
  } catch (...) {
    failed = std::current_exception();
  }
  const std::lock_guard lock(mutex_);
  generated_ = std::move(generated);
  failed_ = failed;
  ended_ = true;
  changed_.notify_all();
}

void Generation::order(Order order) {
  order_ = order;
  if (!thread_.joinable() && !ended_) {
    try {
      thread_ = std::thread(&Generation::run, this);
    } catch (const std::system_error& error) {
      order_ = Order::wait;
      throw_error(ErrorCode::system_refused,
                  "nothing was generated: the system refused a thread ({}); raise the process's "
                  "limits, see ulimit -a",
                  error.what());
    }
  }
  changed_.notify_all();
}

void Generation::wait_for_answer(std::unique_lock<std::mutex>& lock) {
  while (!changed_.wait_for(lock, kLookUp, [&] { return token_ || ended_; })) {
    lock.unlock();
    waiting_();
    lock.lock();
  }
}

std::optional<Generation::Token> Generation::next() {
  std::unique_lock lock(mutex_);
  if (!token_ && !ended_) {
    order(Order::one_token);
    wait_for_answer(lock);
  }
  if (token_) {
    return std::exchange(token_, std::nullopt);
  }
  answer();
  return std::nullopt;
}

const Generated& Generation::result() {
  std::unique_lock lock(mutex_);
  if (!ended_) {
    order(Order::all);
    try {
      token_.reset();
      wait_for_answer(lock);
    } catch (...) {
      if (!lock.owns_lock()) {
        lock.lock();
      }
      order(Order::undo);
      changed_.wait(lock, [&] { return ended_; });
      throw;
    }
  }
  return answer();
}

const Generated& Generation::answer() {
  if (failed_) {
    try {
      std::rethrow_exception(failed_);
    } catch (const Undone&) {
      throw_error(ErrorCode::cancelled,
                  "the generation was interrupted, and its sequence is as before; begin another");
    } catch (const Raised&) {
      // Told once: its traceback leads to who asked, and from there to this generation.
      failed_ = std::make_exception_ptr(
          Error(ErrorCode::run_failed,
                "the generation ended with what a constraint or drafter of the program's own "
                "raised; begin another"));
      throw;
    }
  }
  return *generated_;
}

void Generation::stop() noexcept {
  {
    const std::lock_guard lock(mutex_);
    if (!thread_.joinable()) {
      ended_ = true;
      generated_ = generated_.value_or(Generated{.finish_reason = FinishReason::cancelled});
    } else if (!ended_) {
      order_ = Order::stop;
      changed_.notify_all();
    }
  }
  if (thread_.joinable()) {
    thread_.join();
  }
}

bool Generation::ended() {
  const std::lock_guard lock(mutex_);
  return ended_;
}

}  // namespace kvcache::python
