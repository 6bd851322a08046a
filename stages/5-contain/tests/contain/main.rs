//! The stage as a whole, against a real chain and a real log.

#[cfg(test)]
mod crash;
#[cfg(test)]
mod false_receipt;
#[cfg(test)]
mod gate;
#[cfg(test)]
mod levers;
#[cfg(test)]
mod sender;
#[cfg(test)]
mod world;
