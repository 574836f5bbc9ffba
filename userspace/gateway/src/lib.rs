//! The daemon and the command line of sluice: glue between peek, policy, splice and steer.
#![forbid(unsafe_code)]

pub mod ask;
pub mod commands;
pub mod config;
pub mod daemon;
pub mod explain;
pub mod facts;
pub mod identity;
pub mod intercept;
pub mod kernel_state;
mod listener_tls;
pub mod names;
pub mod origin;
pub mod pac;
pub mod page;
pub mod proxy;
pub mod proxy_protocol;
mod proxy_status;
pub mod replay;
pub mod request;
pub mod scrape;
pub mod suggest;
