//! Who has which address: remembered, told over the admin socket, believed by flows, shown.
#![cfg(test)]

mod api;
mod commands;
mod flows;
mod kept;
mod lab;
mod table;
mod tickets;
