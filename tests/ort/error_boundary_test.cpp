#include "ort/error_boundary.hpp"

#include <gtest/gtest.h>
#include <onnxruntime_cxx_api.h>

#include <exception>
#include <filesystem>
#include <new>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include "support/models.hpp"

namespace kvcache {
namespace {

constexpr Meaning kLoad{"the model was not loaded", ErrorCode::model_not_found,
                        ErrorCode::model_invalid};

/// What becomes of an exception that `work` throws.
template <typename Work>
void expect_becomes(ErrorCode code, const std::string& part, const Work& work) {
  test::expect_error(code, part, [&] {
    try {
      work();
    } catch (...) {
      rethrow_as_error(kLoad);
    }
  });
}

std::system_error system_error(std::errc reason) {
  return std::system_error(std::make_error_code(reason));
}

TEST(ErrorBoundary, LeavesErrorsAsTheyAre) {
  expect_becomes(ErrorCode::cache_full, "full", [] { throw Error(ErrorCode::cache_full, "full"); });
}

TEST(ErrorBoundary, LetsPassWhatIsNobodysError) {
  EXPECT_THROW(
      {
        try {
          throw 5;
        } catch (...) {
          rethrow_as_error(kLoad);
        }
      },
      int);
}

TEST(ErrorBoundary, CallsRefusedMemoryByItsName) {
  const auto expect = [](const std::string& part, const auto& work) {
    expect_becomes(ErrorCode::out_of_memory,
                   "the model was not loaded: the system refused memory (" + part, work);
  };
  expect("std::bad_alloc", [] { throw std::bad_alloc(); });
  expect("", [] { std::vector<int>().reserve(std::vector<int>().max_size() + 1); });
  expect("Cannot allocate memory", [] { throw system_error(std::errc::not_enough_memory); });
  for (const char* message :
       {"Exception during initialization: std::bad_alloc",
        "mmap file x errno 12 Cannot allocate memory", "Failed to allocate memory for 12 bytes",
        "CUDA failure 2: out of memory"}) {
    expect(message, [&] { throw Ort::Exception(message, ORT_RUNTIME_EXCEPTION); });
  }
}

TEST(ErrorBoundary, CallsRefusedThreadsAndDescriptorsByTheirName) {
  for (const std::errc reason :
       {std::errc::resource_unavailable_try_again, std::errc::too_many_files_open,
        std::errc::too_many_files_open_in_system}) {
    expect_becomes(ErrorCode::system_refused,
                   std::make_error_code(reason).message() + "); raise the process's limits",
                   [&] { throw system_error(reason); });
  }
  expect_becomes(ErrorCode::system_refused,
                 "refused a thread or memory for its stack, a file descriptor",
                 [] { throw Ort::Exception("open file x failed: Too many open files", ORT_FAIL); });
}

TEST(ErrorBoundary, TakesTheRestAsTheFunctionSays) {
  expect_becomes(ErrorCode::model_not_found, "File name too long",
                 [] { static_cast<void>(std::filesystem::is_directory(std::string(300, 'a'))); });
  expect_becomes(ErrorCode::model_invalid, "is no graph",
                 [] { throw Ort::Exception("is no graph", ORT_INVALID_PROTOBUF); });
  expect_becomes(ErrorCode::model_invalid, "json.exception",
                 [] { const auto json = nlohmann::json::parse("{"); });
  expect_becomes(ErrorCode::model_invalid, "odd", [] { throw std::logic_error("odd"); });
}

}  // namespace
}  // namespace kvcache
