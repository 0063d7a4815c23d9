// The result of a run: views of its memory as arrays, and what is asked of them where they are.

#include "kvcache/logits.hpp"

#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "bindings/bind.hpp"
#include "bindings/errors.hpp"
#include "bindings/interpreter_lock.hpp"
#include "bindings/tokens.hpp"
#include "bindings/values.hpp"

namespace kvcache::python {
namespace {

using Rows = nb::ndarray<nb::numpy, const float, nb::ndim<2>, nb::c_contig>;

/// Calls without the interpreter's lock where that takes long: logits of a device are brought here.
/// On the host it takes microseconds, less than a switch to another thread of Python.
template <typename Function>
auto read(const Logits& logits, Function&& function) {
  if (logits.on_host()) {
    return std::forward<Function>(function)();
  }
  const Unlocked released;
  return std::forward<Function>(function)();
}

/// Which row a number of Python's means: −1 is the last.
std::size_t to_row(const Logits& logits, std::int64_t row) {
  const auto rows = static_cast<std::int64_t>(logits.rows());
  if (row < -rows || row >= rows) {
    throw_error(ErrorCode::invalid_argument,
                "row {} was asked for, there are {}: 0 to {}, or -1 "
                "for the last",
                row, rows, rows - 1);
  }
  return static_cast<std::size_t>(row < 0 ? row + rows : row);
}

/// All rows as float32: a view where the run wrote them so, otherwise a copy.
nb::object float32_rows(nb::handle self) {
  const auto& logits = nb::cast<const Logits&>(self);
  const LogitsMemory memory = logits.memory();
  const std::size_t rows = logits.rows();
  const std::size_t size = logits.vocab_size();
  if (memory.device == Device::cpu && memory.type == DataType::float32) {
    return nb::cast(Rows(static_cast<const float*>(memory.data), {rows, size}, self));
  }
  auto copy = std::make_unique<std::vector<float>>();
  read(logits, [&] {
    copy->reserve(rows * size);
    for (std::size_t row = 0; row < rows; ++row) {
      const std::span<const float> values = logits.row(row);
      copy->insert(copy->end(), values.begin(), values.end());
    }
  });
  const float* const data = copy->data();
  const nb::capsule owner(copy.release(), [](void* values) noexcept {
    delete static_cast<std::vector<float>*>(values);
  });
  return nb::cast(Rows(data, {rows, size}, owner));
}

nb::dlpack::dtype to_dlpack(DataType type) {
  using Code = nb::dlpack::dtype_code;
  const Code code = type == DataType::bfloat16 ? Code::Bfloat : Code::Float;
  return {static_cast<std::uint8_t>(code), static_cast<std::uint8_t>(8 * data_type_size(type)), 1};
}

std::pair<int, int> dlpack_device(const Logits& logits) {
  const LogitsMemory memory = logits.memory();
  const int type = memory.device == Device::cuda ? nb::device::cuda::value : nb::device::cpu::value;
  return {type, memory.device_id};
}

/// The memory of the run. Its host has waited for it: no stream is left to be waited for.
nb::object to_dlpack_capsule(nb::handle self, const nb::kwargs& how) {
  const auto& logits = nb::cast<const Logits&>(self);
  const LogitsMemory memory = logits.memory();
  const auto [device_type, device_id] = dlpack_device(logits);
  const nb::ndarray<nb::array_api, nb::ro> array(memory.data, {logits.rows(), logits.vocab_size()},
                                                 self, {}, to_dlpack(memory.type), device_type,
                                                 device_id);
  return nb::cast(array).attr("__dlpack__")(**how);
}

nb::object vector_of(nb::handle self, std::span<const float> values) {
  return to_numpy_view(values, self);
}

nb::object to_numpy(nb::handle self, const nb::object& dtype, const nb::object& copy) {
  nb::object view = float32_rows(self);
  if (dtype.is_none() && !copy.is_none() && !nb::cast<bool>(copy)) {
    return view;
  }
  nb::dict how;
  if (!dtype.is_none()) {
    how["dtype"] = dtype;
  }
  how["copy"] = copy;
  return nb::module_::import_("numpy").attr("array")(view, **how);
}

std::vector<std::pair<TokenId, float>> top_k(const Logits& logits, std::size_t k,
                                             std::int64_t row) {
  std::vector<std::pair<TokenId, float>> best;
  const std::vector<TokenScore> scores =
      read(logits, [&] { return logits.top_k(k, to_row(logits, row)); });
  best.reserve(scores.size());
  for (const TokenScore& score : scores) {
    best.emplace_back(score.token, score.logit);
  }
  return best;
}

/// `row`: a number, or one for each token.
nb::object log_probabilities(const Logits& logits, const nb::object& tokens,
                             const nb::object& row) {
  const std::vector<TokenId> of = to_tokens(tokens);
  if (PyIndex_Check(row.ptr()) != 0 && !nb::hasattr(row, "__len__")) {
    const std::size_t one = to_row(logits, nb::cast<std::int64_t>(row));
    return to_numpy_values(read(logits, [&] { return logits.log_probabilities(of, one); }));
  }
  const std::vector<std::int64_t> rows = to_tokens(row, "row");
  if (rows.size() != of.size()) {
    throw_error(ErrorCode::invalid_argument,
                "{} rows were given for {} tokens; give one for all of them, or one for each",
                rows.size(), of.size());
  }
  std::vector<RowToken> asked;
  asked.reserve(of.size());
  for (std::size_t i = 0; i < of.size(); ++i) {
    asked.push_back({to_row(logits, rows[i]), of[i]});
  }
  return to_numpy_values(read(logits, [&] { return logits.log_probabilities(asked); }));
}

}  // namespace

void bind_logits(nb::module_& module) {
  nb::class_<Logits>(
      module, "Logits",
      "Logits of one or more tokens, [rows, vocab_size], left where the run wrote them: nothing\n"
      "is copied until asked for. They stay valid as long as this object or an array of it\n"
      "lives, whatever happens to the sequence. Any number of threads may read them.\n\n"
      "Source: include/kvcache/logits.hpp.")
      .def_prop_ro("rows", &Logits::rows)
      .def_prop_ro("vocab_size", &Logits::vocab_size)
      .def_prop_ro(
          "shape",
          [](const Logits& logits) { return std::pair(logits.rows(), logits.vocab_size()); },
          nb::sig("def shape(self) -> tuple[int, int]"), "(rows, vocab_size)")
      .def_prop_ro("on_host", &Logits::on_host, "Whether they are in the host's memory.")
      .def("__len__", &Logits::rows)
      .def(
          "argmax",
          [](const Logits& logits, std::int64_t row) {
            return read(logits, [&] { return logits.argmax(to_row(logits, row)); });
          },
          nb::arg("row") = -1,
          "The token with the largest logit of a row, the smallest id when several are equal;\n"
          "where the logits are, without a copy.\n\n"
          "Raises:\n    Error: invalid_argument when there is no such row.")
      .def("top_k", &top_k, nb::arg("k"), nb::arg("row") = -1,
           "The k tokens with the largest logits of a row and these, largest first.\n\n"
           "Raises:\n    Error: invalid_argument when there is no such row.")
      .def(
          "log_sum_exp",
          [](const Logits& logits, std::int64_t row, double temperature) {
            return read(logits,
                        [&] { return logits.log_sum_exp(to_row(logits, row), temperature); });
          },
          nb::arg("row") = -1, nb::arg("temperature") = 1.0,
          "log of the sum of exp(logit / temperature) over a row, in double precision:\n"
          "`logit / temperature` less this is a token's log-probability.\n\n"
          "Raises:\n    Error: invalid_argument when there is no such row, or `temperature` is "
          "not\n"
          "        above 0 and finite.")
      .def(
          "log_probabilities", &log_probabilities, nb::arg("tokens"), nb::arg("row") = -1,
          nb::sig("def log_probabilities(self, tokens: " KVCACHE_PY_TOKENS
                  ", row: int | " KVCACHE_PY_TOKENS
                  " = -1) -> numpy.typing.NDArray[numpy.float32]"),
          "Natural logarithms of the softmax of a row over the whole vocabulary, at some tokens,\n"
          "[len(tokens)]; of one row, or each of its own, which is one question to the device for\n"
          "all of them.\n\n"
          "Raises:\n    Error: invalid_argument when there is no such row or as many rows as "
          "tokens\n"
          "        were not given, token_out_of_range.")
      .def(
          "row",
          [](nb::handle self, std::int64_t row) {
            const auto& logits = nb::cast<const Logits&>(self);
            return vector_of(self, read(logits, [&] { return logits.row(to_row(logits, row)); }));
          },
          nb::arg("row") = -1,
          nb::sig("def row(self, row: int = -1) -> numpy.typing.NDArray[numpy.float32]"),
          "One row as float32, [vocab_size]: a view, which cannot be written to and keeps the\n"
          "logits alive. No copy for a float32 model on the CPU, otherwise converted on first "
          "use.\n\n"
          "Raises:\n    Error: invalid_argument when there is no such row.")
      .def(
          "output",
          [](nb::handle self, std::string_view name, std::int64_t row) {
            const auto& logits = nb::cast<const Logits&>(self);
            return vector_of(
                self, read(logits, [&] { return logits.output(name, to_row(logits, row)); }));
          },
          nb::arg("name"), nb::arg("row") = -1,
          nb::sig("def output(self, name: str, row: int = -1) -> "
                  "numpy.typing.NDArray[numpy.float32]"),
          "What the model computes beside the logits for the token of a row, as float32, [size];\n"
          "names and sizes are ModelInfo.outputs. A view as row().\n\n"
          "Raises:\n    Error: invalid_argument when there is no such output or row,\n"
          "        logits_invalid where the vector holds NaN.")
      .def("to_numpy", &float32_rows,
           nb::sig("def to_numpy(self) -> numpy.typing.NDArray[numpy.float32]"),
           "All rows as float32, [rows, vocab_size]: a view as row() for a float32 model on the\n"
           "CPU, otherwise a copy.")
      .def("__array__", &to_numpy, nb::arg("dtype") = nb::none(), nb::arg("copy") = nb::none(),
           nb::sig("def __array__(self, dtype: numpy.typing.DTypeLike | None = None, "
                   "copy: bool | None = None) -> numpy.typing.NDArray[typing.Any]"),
           "For numpy: numpy.asarray(logits) is to_numpy().")
      .def("__dlpack__", &to_dlpack_capsule,
           nb::sig("def __dlpack__(self, **how: typing.Any) -> typing.Any"),
           "For other array libraries (DLPack): the memory of the run itself, of ModelInfo.dtype,\n"
           "[rows, vocab_size], read-only, on the CPU or the GPU, without a copy. The run has "
           "ended.")
      .def("__dlpack_device__", &dlpack_device,
           "DLPack's kind of device and its number: (1, 0) the CPU, (2, n) a GPU.")
      .def("__repr__", [](const Logits& logits) {
        return fmt::format("Logits(rows={}, vocab_size={})", logits.rows(), logits.vocab_size());
      });
}

}  // namespace kvcache::python
