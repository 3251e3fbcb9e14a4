//! Artifacts pushed and pulled: to directories and from web servers, whole and damaged.

mod hostile;
mod samples;
mod server;
mod versions;
mod web;
