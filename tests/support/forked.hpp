// A child process that does some work over and over, to be killed at any moment.
#pragma once

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <stdexcept>

namespace kvcache::test {

/// Runs `work` for ever in a child; it is killed (SIGKILL) with this object at the latest.
class Forked {
 public:
  explicit Forked(const std::function<void()>& work) : process_(::fork()) {
    if (process_ < 0) {
      throw std::runtime_error("cannot fork");
    }
    if (process_ == 0) {
      try {
        while (true) {
          work();
        }
      } catch (...) {
        ::_exit(kFailed);
      }
    }
  }
  ~Forked() { kill(); }
  Forked(const Forked&) = delete;
  Forked& operator=(const Forked&) = delete;

  /// Whether it was at work until it was killed.
  bool kill() {
    if (process_ <= 0) {
      return true;
    }
    ::kill(process_, SIGKILL);
    int status = 0;
    ::waitpid(process_, &status, 0);
    process_ = -1;
    return WIFSIGNALED(status);
  }

 private:
  static constexpr int kFailed = 1;
  pid_t process_;
};

}  // namespace kvcache::test
