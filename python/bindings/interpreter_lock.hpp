// The interpreter's lock, let go of and taken in scopes, also while the interpreter ends.
#pragma once

#include <Python.h>
#include <unistd.h>

namespace kvcache::python {

/// Up to 3.13, Python ends a thread that wants the lock of an interpreter which has begun to end
/// by pthread_exit(), whose unwinding no destructor survives ("terminate called without an active
/// exception"): so a daemon thread that came back from a long call ended the process. Such a thread
/// waits for the process's end here, as from 3.14 on in Python (PyThread_hang_thread). Nobody waits
/// for it: generations and evaluators end before the interpreter does.
template <typename Function>
auto or_wait_for_the_end(const Function& takes_lock) {
  try {
    return takes_lock();
  } catch (...) {  // a forced unwinding; C functions throw nothing else
    while (true) {
      pause();
    }
  }
}

/// Without the lock for as long as it lives.
class Unlocked {
 public:
  Unlocked() : state_(PyEval_SaveThread()) {}
  Unlocked(const Unlocked&) = delete;
  Unlocked& operator=(const Unlocked&) = delete;
  ~Unlocked() {
    or_wait_for_the_end([this] { PyEval_RestoreThread(state_); });
  }

 private:
  PyThreadState* state_;
};

/// With the lock for as long as it lives, in any thread.
class Locked {
 public:
  Locked() : state_(or_wait_for_the_end([] { return PyGILState_Ensure(); })) {}
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;
  ~Locked() { PyGILState_Release(state_); }

 private:
  PyGILState_STATE state_;
};

}  // namespace kvcache::python
