// What Python's answers and waiting requests hold.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include "bindings/interpreter_lock.hpp"
#include "bindings/names.hpp"
#include "bindings/pending.hpp"
#include "bindings/tree_object.hpp"
#include "kvcache/evaluator_request.hpp"

namespace kvcache::python {

inline constexpr Names<AnsweredBy, 3> kAnsweredBy{{{"run", AnsweredBy::run},
                                                   {"joined", AnsweredBy::joined},
                                                   {"result_cache", AnsweredBy::result_cache}}};

/// An answer to any kind of request.
struct AnswerObject {
  nb::object result;
  std::uint64_t version;
  AnsweredBy by;
  std::chrono::nanoseconds waited;
};

/// With the interpreter's lock.
template <typename Result>
AnswerObject to_answer(Answer<Result> answer) {
  return {nb::cast(std::move(answer.result)), answer.version, answer.by, answer.waited};
}

/// A request that was submitted, of any kind.
class SubmittedObject {
 public:
  explicit SubmittedObject(std::shared_ptr<Pending> pending) : pending_(std::move(pending)) {}
  virtual ~SubmittedObject() = default;
  SubmittedObject(const SubmittedObject&) = delete;
  SubmittedObject& operator=(const SubmittedObject&) = delete;

  virtual AnswerObject get() = 0;
  virtual bool wait_for(std::chrono::nanoseconds timeout) = 0;
  virtual bool ready() = 0;
  virtual bool cancel() = 0;
  [[nodiscard]] Pending& pending() noexcept { return *pending_; }

 private:
  std::shared_ptr<Pending> pending_;
};

template <typename Result>
class SubmittedOf final : public SubmittedObject {
 public:
  SubmittedOf(std::shared_ptr<Pending> pending, Request<Result> request)
      : SubmittedObject(std::move(pending)), request_(std::move(request)) {}

  AnswerObject get() override {
    Answer<Result> answer = [&] {
      const Unlocked released;
      const EndUse end_use{pending()};
      return request_.get();
    }();
    return to_answer(std::move(answer));
  }
  bool wait_for(std::chrono::nanoseconds timeout) override {
    return noticed(request_.wait_for(timeout));
  }
  bool ready() override { return noticed(request_.ready()); }
  bool cancel() override { return noticed(request_.cancel()); }

 private:
  struct EndUse {
    Pending& pending;
    ~EndUse() { pending.end_use(); }
  };

  /// The sequence is free as soon as anybody knows of the answer.
  bool noticed(bool answered) {
    if (answered) {
      pending().end_use();
    }
    return answered;
  }

  Request<Result> request_;
};

}  // namespace kvcache::python
