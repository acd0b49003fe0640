//! Where a session and its tasks are on their way. Statuses hold the text, so that one written by a later version can
//! still be read.

use std::fmt;

/// Declares an enum of phases, of which those after `ended` are final.
macro_rules! phases {
    ($(#[$about:meta])* $kind:ident { $($(#[$doc:meta])+ $name:ident,)+ } ended { $($(#[$end_doc:meta])+ $end:ident,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $kind {
            $($(#[$doc])+ $name,)+
            $($(#[$end_doc])+ $end,)+
        }

        impl $kind {
            /// All phases.
            pub const ALL: &[Self] = &[$(Self::$name,)+ $(Self::$end,)+];

            /// The text in a status.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                    $(Self::$end => stringify!($end),)+
                }
            }

            /// The phase of this text; `None` for one that this version does not know.
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|phase| phase.as_str() == text)
            }

            /// Whether it is an end, after which nothing changes any more.
            pub const fn has_ended(self) -> bool {
                matches!(self, $(Self::$end)|+)
            }
        }

        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

phases! {
    /// Where a session is on its way.
    SessionPhase {
        /// None of its tasks has a worker yet.
        Pending,
        /// The first tasks have workers, which are launched; nothing runs yet.
        Starting,
        /// At least one task runs or has run.
        Running,
    } ended {
        /// Every task succeeded.
        Succeeded,
        /// A task failed, or a deadline passed.
        Failed,
        /// It was cancelled.
        Cancelled,
    }
}

phases! {
    /// Where a task is on its way.
    TaskPhase {
        /// It waits for a worker.
        Pending,
        /// It has a worker, and does not run yet.
        Starting,
        /// It runs.
        Running,
    } ended {
        /// It did what it was to do.
        Succeeded,
        /// It did not.
        Failed,
        /// It was ended before it could tell.
        Cancelled,
    }
}

impl TaskPhase {
    /// Whether the task is with a worker, or on its way to one.
    pub const fn has_worker(self) -> bool {
        matches!(self, Self::Starting | Self::Running)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_is_read_as_it_is_written() {
        for phase in SessionPhase::ALL {
            assert_eq!(SessionPhase::parse(&phase.to_string()), Some(*phase));
        }
        for phase in TaskPhase::ALL {
            assert_eq!(TaskPhase::parse(&phase.to_string()), Some(*phase));
        }
        assert_eq!(TaskPhase::parse("running"), None);
    }

    #[test]
    fn an_end_is_one_of_three() {
        let ends = TaskPhase::ALL.iter().filter(|phase| phase.has_ended());
        assert!(ends.eq(&[TaskPhase::Succeeded, TaskPhase::Failed, TaskPhase::Cancelled]));
        let ends = SessionPhase::ALL.iter().filter(|phase| phase.has_ended());
        assert!(ends.eq(&[SessionPhase::Succeeded, SessionPhase::Failed, SessionPhase::Cancelled]));
    }
}
