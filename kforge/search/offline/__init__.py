"""The offline proposer: rules that write genuine SYCL kernels where no model is at hand."""
