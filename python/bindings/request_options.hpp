// What Python's requests hold.
#pragma once

#include <chrono>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bindings/names.hpp"
#include "bindings/sequence_object.hpp"
#include "kvcache/evaluator_request.hpp"

namespace kvcache::python {

inline constexpr Names<Priority, 3> kPriorities{
    {{"low", Priority::low}, {"normal", Priority::normal}, {"high", Priority::high}}};

/// A time in seconds as C++ takes it.
/// @throws Error invalid_argument where it is negative or no number
inline std::chrono::nanoseconds to_duration(double seconds, std::string_view what) {
  if (!(seconds >= 0)) {
    throw_error(ErrorCode::invalid_argument, "{} is {}, must be 0 or more, in seconds", what,
                seconds);
  }
  constexpr double kLongest = 3.0e8;  // nearly ten years
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
      std::chrono::duration<double>(std::min(seconds, kLongest)));
}

/// A request of C++'s, the use of its sequence, and a deadline that counts from submission.
template <typename CppRequest, bool changes>
struct RequestObject {
  static constexpr bool kChanges = changes;

  CppRequest request;
  std::shared_ptr<Use> use;
  std::optional<std::chrono::nanoseconds> timeout;

  [[nodiscard]] CppRequest begin() const {
    CppRequest begun = request;
    if (timeout) {
      begun.options.deadline = std::chrono::steady_clock::now() + *timeout;
    }
    return begun;
  }
};

using ExtendObject = RequestObject<ExtendRequest, true>;
using EvaluateObject = RequestObject<EvaluateRequest, false>;
using ScoreObject = RequestObject<ScoreRequest, false>;

}  // namespace kvcache::python
