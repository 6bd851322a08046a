//! The one loop: wiring, configuration, the drill
