// Objects whose threads call back into the interpreter, and that end before it does.
#pragma once

#include <nanobind/nanobind.h>

#include <mutex>
#include <set>

namespace kvcache::python {

namespace nb = nanobind;

template <typename Object>
class OpenObjects {
 public:
  void add(Object* object) {
    const std::lock_guard lock(mutex_);
    objects_.insert(object);
  }
  void remove(Object* object) {
    const std::lock_guard lock(mutex_);
    objects_.erase(object);
  }

  /// Takes out all, calling with each. With the interpreter's lock, which the call may let go of.
  template <typename Function>
  void end_each(const Function& function) {
    while (Object* const object = take()) {
      const nb::object alive = nb::find(object);
      function(*object);
    }
  }

 private:
  Object* take() {
    const std::lock_guard lock(mutex_);
    return objects_.empty() ? nullptr : objects_.extract(objects_.begin()).value();
  }

  std::mutex mutex_;
  std::set<Object*> objects_;
};

}  // namespace kvcache::python
