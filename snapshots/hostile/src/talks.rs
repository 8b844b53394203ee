//! A loss that misbehaves.

use retort_sdk::prelude::*;

choice! {
    /// How it says it.
    pub enum How {
        Fail = "fail",
        Undefined = "undefined",
        Panic = "panic",
        Escape = "escape",
        Lines = "lines",
    }
}

hyper! {
    /// Ends with a message that nobody wants to read.
    pub struct Talks {
        /// How it says it.
        how: How = How::Fail,
        /// Bytes of the message.
        bytes: usize = 100_000_000,
    }
}

impl Loss for Talks {
    fn loss(&self, step: &Step) -> Tensor {
        let long = || "blah".repeat(self.bytes / 4);
        match self.how {
            How::Fail => step.fail(&long()),
            How::Undefined => step.undefined(&long()),
            How::Panic => panic!("{}", long()),
            How::Escape => step.fail("wipe \u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}\u{2066}\u{0} it"),
            How::Lines => step.fail("first line\r\nerror: second\nthird"),
        }
    }
}
