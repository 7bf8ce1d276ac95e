"""A workload, a device and a candidate that the tests of this folder bend out of shape."""

from kforge.eval.candidate import parse_candidate
from kforge.eval.planning.shapes import contiguous_strides
from kforge.types import CandidateSource, DeviceInfo, DType, InputSpec, TensorSpec, WorkloadSpec

DEVICE = DeviceInfo(
    language="sycl", backend="opencl", name="test cpu", arch="x86_64", driver="1",
    sm_count=2,    max_work_group=1024, shared_per_sm=65536, shared_optin=32768, regs_per_sm=0, max_cluster=0,
    max_threads_per_sm=0, warp_size=16, l2_bytes=2**20, memory_bytes=2**30, is_cpu=True,
    selector="opencl:cpu",
)  # fmt: skip

SOURCE = """
#include <sycl/sycl.hpp>
namespace sx = sycl::ext::oneapi;
extern "C" SYCL_EXT_ONEAPI_FUNCTION_PROPERTY((sx::experimental::nd_range_kernel<1>))
void inorm(const float* x, float* y, int n, float s, sycl::local_accessor<float, 1> acc) {
  auto it = sx::this_work_item::get_nd_item<1>();
  y[it.get_global_id(0)] = x[it.get_global_id(0)] * s;
}
"""
PLAN = """\
def plan(k, x):
    y = k.op("conv2d", x, k.param("conv.weight"), k.param("conv.bias"))
    out = k.empty_like(y)
    n = y.shape[2] * y.shape[3]
    k.launch("inorm", grid=(y.shape[0] * y.shape[1],), block=(k.tune.BLOCK,),
             args=[y, out, n, 1.0 / k.init("divide_by"), k.local("float32", k.tune.BLOCK)])
    return out
"""


def spec(name: str, *shape: int, dtype: DType = "float32") -> TensorSpec:
    return TensorSpec(name, dtype, shape, contiguous_strides(shape))


WORKLOAD = WorkloadSpec(
    name="small",
    inputs=(InputSpec("x", "real", spec("x", 4, 3, 16, 16)),),
    parameters=(spec("conv.weight", 8, 3, 3, 3), spec("conv.bias", 8)),
    buffers=(spec("bn.running_mean", 8),),
    init={"divide_by": 2.0, "kernel_size": 3},
    outputs=(spec("out", 4, 8, 14, 14),),
    returns_tuple=False,
)


def text(plan: str = PLAN, source: str = SOURCE, rest: str = 'TUNE = {"BLOCK": [64, 128]}') -> str:
    return f'LANGUAGE = "sycl"\nSOURCE = r"""{source}"""\n{rest}\n\n{plan}'


def candidate(
    plan: str = PLAN, source: str = SOURCE, rest: str = 'TUNE = {"BLOCK": [64, 128]}'
) -> CandidateSource:
    parsed = parse_candidate(text(plan, source, rest))
    assert isinstance(parsed, CandidateSource), parsed
    return parsed
