#include "base/file_lease.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include <csignal>
#include <future>
#include <utility>

namespace kvcache {
namespace {

/// Threads that are made while one is there take no signals.
class AllSignalsBlocked {
 public:
  AllSignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  AllSignalsBlocked(const AllSignalsBlocked&) = delete;
  AllSignalsBlocked& operator=(const AllSignalsBlocked&) = delete;
  ~AllSignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_{};
};

}  // namespace

FileLease::FileLease(int descriptor, std::function<void()> wanted)
    : descriptor_(descriptor), wanted_(std::move(wanted)) {
  std::promise<void> asked;
  {
    const AllSignalsBlocked blocked;
    thread_ = std::thread([this, &asked] {
      held_ = take();  // here, for the signal goes to the thread that asks
      const bool held = held_;
      asked.set_value();
      if (held) {
        wait_for_others();
      }
    });
  }
  asked.get_future().wait();
}

FileLease::~FileLease() {
  give_back();
  thread_.join();
}

#if defined(F_SETLEASE) && defined(F_SETOWN_EX)

bool FileLease::take() const {
  const f_owner_ex owner{F_OWNER_TID, ::gettid()};
  return ::fcntl(descriptor_, F_SETOWN_EX, &owner) == 0 &&
         ::fcntl(descriptor_, F_SETLEASE, F_RDLCK) == 0;
}

void FileLease::wait_for_others() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGIO);
  for (bool told = false; held_;) {
    int received = 0;
    if (::sigwait(&signals, &received) != 0 || !held_ || told) {
      continue;
    }
    if (::fcntl(descriptor_, F_GETLEASE) == F_UNLCK) {  // what it is to become
      told = true;
      wanted_();
    }
  }
}

void FileLease::give_back() noexcept {
  if (held_.exchange(false)) {
    ::fcntl(descriptor_, F_SETLEASE, F_UNLCK);
    ::pthread_kill(thread_.native_handle(), SIGIO);
  }
}

#else

bool FileLease::take() const { return false; }
void FileLease::wait_for_others() {}
void FileLease::give_back() noexcept {}

#endif

}  // namespace kvcache
