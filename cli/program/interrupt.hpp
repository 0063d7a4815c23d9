// Ctrl-C: the first one ends the work in order, the second one ends the program.
#pragma once

#include <exception>

namespace kvcache::cli {

/// Thrown where work stops because the user interrupted it.
class Interrupted : public std::exception {
 public:
  [[nodiscard]] const char* what() const noexcept override { return "interrupted"; }
};

void catch_interrupts();
[[nodiscard]] bool interrupted() noexcept;
void throw_if_interrupted();

}  // namespace kvcache::cli
