//! What a test may do to a request, and what it may look at afterwards.

use std::time::Duration;

use http::StatusCode;

use super::call::Call;

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: it is answered.
    None,
    /// It is answered with this status code, and nothing is done.
    Answer(StatusCode),
    /// The connection breaks before the request arrives: nothing is done.
    Refuse,
    /// It is done, and the connection breaks before the answer arrives.
    LoseAnswer,
    /// It is done, and a proxy that lost patience answers with this status code.
    GiveUp(StatusCode),
    /// It is done twice, and the second answer is given.
    Twice,
    /// It never arrives and is never answered.
    Hang,
    /// It is done, and never answered.
    Swallow,
    /// It arrives after this time, and is done and answered then, even if the client has given up by then.
    Late(Duration),
    /// It is done at once, and answered after this time.
    LateAnswer(Duration),
}

/// A changing request that was carried out or refused.
#[derive(Debug, Clone)]
pub struct LoggedWrite {
    /// The request.
    pub call: Call,
    /// The status code that the server gave (whether or not it reached the client).
    pub code: u16,
    /// True if an object changed: false for refusals, dry runs and writes of what was there already.
    pub changed: bool,
}

pub(super) type Interceptor = Box<dyn FnMut(&Call) -> Fault + Send>;
pub(super) type Observer = Box<dyn FnMut(&LoggedWrite) + Send>;
