//! The kernel object: one entry point per hook, and nothing else.
//!
//! On the host this is an empty program, so that plain `cargo` commands work on the workspace.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(feature = "kernel")]
mod kernel;

#[cfg(feature = "kernel")]
mod entry {
    use aya_ebpf::{macros::classifier, programs::TcContext};

    use crate::kernel;

    /// From the LAN into the gateway.
    #[classifier]
    fn lan_ingress(ctx: TcContext) -> i32 {
        kernel::lan_ingress(&ctx)
    }

    /// From the gateway to the LAN.
    #[classifier]
    fn lan_egress(ctx: TcContext) -> i32 {
        kernel::lan_egress(&ctx)
    }

    #[panic_handler]
    fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }
}

/// The programs call helpers that the kernel keeps for GPL-compatible programs.
#[cfg(feature = "kernel")]
#[expect(unsafe_code, reason = "the loader finds the licence by its section")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(target_arch = "bpf"))]
fn main() {}
