#include "kernels/cuda/matrix_product.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "base/device_memory_fault.hpp"
#include "kernels/panels.hpp"

namespace kvcache::kernels {
namespace {

constexpr std::size_t kWorkspaceBytes = std::size_t{32} << 20;  // what cuBLAS wants on Hopper
constexpr std::uint32_t kAlignment = 16;                        // of all pointers, at least

void check(cublasStatus_t status, const char* call) {
  if (status != CUBLAS_STATUS_SUCCESS) {
    throw std::runtime_error(
        fmt::format("{} failed with status {}", call, static_cast<int>(status)));
  }
}

}  // namespace

/// The functions of cuBLASLt that are used here.
struct MatrixProduct::Library {
  Library() {
    const std::string name = fmt::format("libcublasLt.so.{}", CUDART_VERSION / 1000);
    handle = ::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) {
      throw std::runtime_error(fmt::format(
          "matrix products on CUDA need {}, which ONNX Runtime's CUDA provider needs too: {}", name,
          ::dlerror()));
    }
    find(create, "cublasLtCreate");
    find(destroy, "cublasLtDestroy");
    find(matmul, "cublasLtMatmul");
    find(heuristic, "cublasLtMatmulAlgoGetHeuristic");
    find(layout_create, "cublasLtMatrixLayoutCreate");
    find(layout_set, "cublasLtMatrixLayoutSetAttribute");
    find(layout_destroy, "cublasLtMatrixLayoutDestroy");
    find(desc_create, "cublasLtMatmulDescCreate");
    find(desc_set, "cublasLtMatmulDescSetAttribute");
    find(desc_destroy, "cublasLtMatmulDescDestroy");
    find(preference_create, "cublasLtMatmulPreferenceCreate");
    find(preference_set, "cublasLtMatmulPreferenceSetAttribute");
    find(preference_destroy, "cublasLtMatmulPreferenceDestroy");
    check(create(&lt), "cublasLtCreate");
  }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;
  ~Library() {
    if (lt != nullptr) {
      destroy(lt);
    }
    // The library stays loaded: its threads and the driver's hooks do not survive unloading.
  }

  template <typename Function>
  void find(Function& function, const char* name) {
    function = reinterpret_cast<Function>(::dlsym(handle, name));
    if (function == nullptr) {
      throw std::runtime_error(fmt::format("cuBLASLt has no {}", name));
    }
  }

  void* handle = nullptr;
  cublasLtHandle_t lt = nullptr;
  decltype(&cublasLtCreate) create = nullptr;
  decltype(&cublasLtDestroy) destroy = nullptr;
  decltype(&cublasLtMatmul) matmul = nullptr;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic = nullptr;
  decltype(&cublasLtMatrixLayoutCreate) layout_create = nullptr;
  decltype(&cublasLtMatrixLayoutSetAttribute) layout_set = nullptr;
  decltype(&cublasLtMatrixLayoutDestroy) layout_destroy = nullptr;
  decltype(&cublasLtMatmulDescCreate) desc_create = nullptr;
  decltype(&cublasLtMatmulDescSetAttribute) desc_set = nullptr;
  decltype(&cublasLtMatmulDescDestroy) desc_destroy = nullptr;
  decltype(&cublasLtMatmulPreferenceCreate) preference_create = nullptr;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set = nullptr;
  decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy = nullptr;
};

/// One product of a shape, or two: full panels as a batch, and what is left of the last one; with
/// the end (bias, activation, residual) where cuBLASLt knows an algorithm that does it too.
///
/// cuBLAS counts matrices by columns, so it is told of outᵀ = weightᵀ · xᵀ.
struct MatrixProduct::Plan {
  struct Part {
    cublasLtMatmulDesc_t desc = nullptr;
    cublasLtMatrixLayout_t weight = nullptr;
    cublasLtMatrixLayout_t x = nullptr;
    cublasLtMatrixLayout_t out = nullptr;
    cublasLtMatmulAlgo_t algo{};
    std::int64_t weight_offset = 0;  // bytes
    std::int64_t out_offset = 0;
    std::int64_t bias_offset = 0;
  };

  explicit Plan(Library& from) : library(from) {}
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;
  ~Plan() {
    for (const Part& part : parts) {
      for (const cublasLtMatrixLayout_t layout : {part.weight, part.x, part.out}) {
        if (layout != nullptr) {
          library.layout_destroy(layout);
        }
      }
      if (part.desc != nullptr) {
        library.desc_destroy(part.desc);
      }
    }
  }

  /// `columns` of the weight, `batch` times, `weight_stride` elements apart; outᵀ's batches lie
  /// `columns` elements apart.
  void add(cudaDataType type, bool transposed, std::int64_t rows, std::int64_t inputs,
           std::int64_t outputs, std::int64_t columns, std::int64_t leading, std::int64_t batch) {
    Part& part = parts.emplace_back();
    check(library.desc_create(&part.desc, CUBLAS_COMPUTE_32F, CUDA_R_32F),
          "cublasLtMatmulDescCreate");
    const cublasOperation_t operation = transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    check(library.desc_set(part.desc, CUBLASLT_MATMUL_DESC_TRANSA, &operation, sizeof(operation)),
          "cublasLtMatmulDescSetAttribute");
    const auto wide = [](std::int64_t size) { return static_cast<std::uint64_t>(size); };
    const auto layout = [&](cublasLtMatrixLayout_t& to, std::int64_t height, std::int64_t width,
                            std::int64_t ld, std::int64_t stride) {
      check(library.layout_create(&to, type, wide(height), wide(width), ld),
            "cublasLtMatrixLayoutCreate");
      const auto count = static_cast<std::int32_t>(batch);
      check(library.layout_set(to, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof(count)),
            "cublasLtMatrixLayoutSetAttribute");
      check(library.layout_set(to, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride,
                               sizeof(stride)),
            "cublasLtMatrixLayoutSetAttribute");
    };
    layout(part.weight, transposed ? inputs : columns, transposed ? columns : inputs, leading,
           kPanelColumns * inputs);
    layout(part.x, inputs, rows, inputs, 0);
    layout(part.out, columns, rows, outputs, columns);
  }

  /// Makes the parts add the bias too, and `gelu`.
  void set_end(cudaDataType type, bool gelu) {
    for (Part& part : parts) {
      const cublasLtEpilogue_t epilogue =
          gelu ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_BIAS;
      const std::int64_t stride = kPanelColumns;  // from one batch's bias to the next
      check(library.desc_set(part.desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof(epilogue)),
            "cublasLtMatmulDescSetAttribute");
      check(library.desc_set(part.desc, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &type, sizeof(type)),
            "cublasLtMatmulDescSetAttribute");
      check(library.desc_set(part.desc, CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE, &stride,
                             sizeof(stride)),
            "cublasLtMatmulDescSetAttribute");
    }
  }

  /// Whether there is one for all parts.
  [[nodiscard]] bool choose_algorithms() {
    return std::all_of(parts.begin(), parts.end(),
                       [this](Part& part) { return choose_algorithm(part); });
  }

  [[nodiscard]] bool choose_algorithm(Part& part) const {
    cublasLtMatmulPreference_t preference = nullptr;
    check(library.preference_create(&preference), "cublasLtMatmulPreferenceCreate");
    const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
      check(library.preference_set(preference, attribute, &value, sizeof(value)),
            "cublasLtMatmulPreferenceSetAttribute");
    };
    set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{kWorkspaceBytes});
    for (const auto attribute :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
      set(attribute, kAlignment);
    }
    cublasLtMatmulHeuristicResult_t best{};
    int found = 0;
    const cublasStatus_t status =
        library.heuristic(library.lt, part.desc, part.weight, part.x, part.out, part.out,
                          preference, 1, &best, &found);
    library.preference_destroy(preference);
    part.algo = best.algo;
    return status == CUBLAS_STATUS_SUCCESS && found > 0;
  }

  Library& library;
  std::vector<Part> parts;
  bool does_end = false;
};

MatrixProduct::MatrixProduct() = default;

MatrixProduct::~MatrixProduct() {
  plans_.clear();
  cudaFree(workspace_);
}

MatrixProduct::Plan& MatrixProduct::plan(Kind kind, cudaDataType type, std::int64_t rows,
                                         std::int64_t inputs, std::int64_t outputs) {
  std::unique_ptr<Plan>& known = plans_[{kind, type, rows, inputs, outputs}];
  if (known) {
    return *known;
  }
  if (workspace_ == nullptr) {
    if (device_memory_is_refused() || cudaMalloc(&workspace_, kWorkspaceBytes) != cudaSuccess) {
      workspace_ = nullptr;
      cudaGetLastError();
      throw std::runtime_error("the GPU is out of memory for cuBLASLt's workspace of 32 MiB");
    }
  }
  if (!library_) {
    library_ = std::make_unique<Library>();
  }
  const auto make = [&] {
    auto made = std::make_unique<Plan>(*library_);
    if (kind == Kind::rows) {
      made->add(type, true, rows, inputs, outputs, outputs, inputs, 1);
      return made;
    }
    const std::int64_t full = outputs / kPanelColumns;
    const std::int64_t left = outputs % kPanelColumns;
    const std::int64_t element = type == CUDA_R_32F ? 4 : 2;
    if (full > 0) {
      made->add(type, false, rows, inputs, outputs, kPanelColumns, kPanelColumns, full);
    }
    if (left > 0) {
      made->add(type, false, rows, inputs, outputs, left, kPanelColumns, 1);
      made->parts.back().weight_offset = full * kPanelColumns * inputs * element;
      made->parts.back().out_offset = full * kPanelColumns * element;
      made->parts.back().bias_offset = full * kPanelColumns * element;
    }
    return made;
  };
  auto made = make();
  if (kind != Kind::rows && kind != Kind::plain_panels) {
    made->set_end(type, kind == Kind::panels_with_gelu);
    made->does_end = made->choose_algorithms();
  }
  if (!made->does_end) {
    made = make();
    if (!made->choose_algorithms()) {
      throw std::runtime_error("cuBLASLt knows no algorithm for a product of this shape");
    }
  }
  known = std::move(made);
  return *known;
}

void MatrixProduct::run(const Plan& plan, const void* x, const void* weight, const Epilogue& end,
                        bool adds, void* out, cudaStream_t stream) {
  const float one = 1;
  const float zero = 0;
  const auto at = [](const void* data, std::int64_t offset) {
    return static_cast<const std::byte*>(data) + offset;
  };
  for (const Plan::Part& part : plan.parts) {
    auto* to = static_cast<std::byte*>(out) + part.out_offset;
    if (plan.does_end) {
      const void* bias = at(end.bias, part.bias_offset);
      check(library_->desc_set(part.desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof(bias)),
            "cublasLtMatmulDescSetAttribute");
    }
    check(library_->matmul(library_->lt, part.desc, &one, at(weight, part.weight_offset),
                           part.weight, x, part.x, adds ? &one : &zero,
                           adds ? at(end.residual, part.out_offset) : to, part.out, to, part.out,
                           &part.algo, workspace_, kWorkspaceBytes, stream),
          "cublasLtMatmul");
  }
}

bool MatrixProduct::with_panels(cudaDataType type, const void* x, const void* weight,
                                const Epilogue& end, void* out, std::int64_t rows,
                                std::int64_t inputs, std::int64_t outputs, cudaStream_t stream) {
  const Kind kind = end.gelu                  ? Kind::panels_with_gelu
                    : end.residual != nullptr ? Kind::panels_with_residual
                                              : Kind::panels;
  // cuBLASLt adds a residual before the activation.
  const bool together = end.bias != nullptr && !(end.gelu && end.residual != nullptr);
  const Plan& made = plan(together ? kind : Kind::plain_panels, type, rows, inputs, outputs);
  const bool is_sum = end.bias == nullptr && !end.gelu;  // no algorithm need know the end
  const bool does_end = made.does_end || is_sum;
  run(made, x, weight, end, does_end && end.residual != nullptr, out, stream);
  return does_end;
}

void MatrixProduct::with_rows(cudaDataType type, const void* x, const void* weight, void* out,
                              std::int64_t rows, std::int64_t inputs, std::int64_t outputs,
                              cudaStream_t stream) {
  run(plan(Kind::rows, type, rows, inputs, outputs), x, weight, {}, false, out, stream);
}

}  // namespace kvcache::kernels
