// Ctrl-C and other signals that ask a program to end: the first one ends the work in order, so that
// nothing half-written stays; the second one ends the program.
#pragma once

#include <exception>
#include <string>

namespace kvcache::cli {

/// Thrown where work stops because of a signal.
class Interrupted : public std::exception {
 public:
  explicit Interrupted(int signal);

  [[nodiscard]] const char* what() const noexcept override { return what_.c_str(); }
  [[nodiscard]] int signal() const noexcept { return signal_; }

 private:
  int signal_;
  std::string what_;
};

/// Waits for SIGINT, SIGTERM and SIGHUP, unless the caller had them ignored (as nohup does). A
/// write beyond the limit on the size of files (SIGXFSZ) is an error as on a full disk.
void catch_interrupts();

[[nodiscard]] bool interrupted() noexcept;
/// @throws Interrupted
void throw_if_interrupted();

}  // namespace kvcache::cli
