//! The log: one line for each event, as JSON or as text, to standard error.

use std::io::IsTerminal as _;

use thiserror::Error;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Directive;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line, for machines.
    #[default]
    Json,
    /// For people at a terminal.
    Text,
}

/// The log could not be set up.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// The filter is not one.
    #[error("`{filter}` is not a log filter ({reason}); give a level or a list such as info,stevedore=debug")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is a log already.
    #[error("the log is set up twice")]
    Twice,
}

/// Sets up the process's log; once.
///
/// # Errors
///
/// The filter cannot be read, or there is a log already.
pub fn init(format: LogFormat, filter: &str) -> Result<(), TelemetryError> {
    match format {
        LogFormat::Json => json(filter, std::io::stderr)?.try_init(),
        LogFormat::Text => text(filter, std::io::stderr, std::io::stderr().is_terminal())?.try_init(),
    }
    .map_err(|_| TelemetryError::Twice)
}

type Log = Box<dyn Subscriber + Send + Sync>;

fn json<W>(to_filter: &str, writer: W) -> Result<Log, TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let log = tracing_subscriber::fmt().with_env_filter(filter(to_filter)?).with_writer(writer);
    Ok(Box::new(log.json().flatten_event(true).with_current_span(true).with_span_list(false).finish()))
}

fn text<W>(to_filter: &str, writer: W, colours: bool) -> Result<Log, TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let log = tracing_subscriber::fmt().with_env_filter(filter(to_filter)?).with_writer(writer);
    Ok(Box::new(log.with_ansi(colours).finish()))
}

/// The filter, with one thing that nobody can switch on: kube prints the whole body of an answer that it cannot
/// decode as a warning of its client, and the answer may be a Secret.
fn filter(text: &str) -> Result<EnvFilter, TelemetryError> {
    let wrong = |reason: String| TelemetryError::Filter { filter: text.to_owned(), reason };
    let quiet: Directive = "kube_client::client=error".parse().map_err(|error| wrong(format!("{error}")))?;
    let builder = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into());
    let chosen = builder.parse(text).map_err(|error| wrong(error.to_string()))?;
    Ok(chosen.add_directive(quiet))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(make: impl FnOnce(Page) -> Log, events: impl FnOnce()) -> String {
        let page = Page::default();
        tracing::subscriber::with_default(make(page.clone()), events);
        let bytes = page.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn to(page: &Page) -> impl Fn() -> Page + Send + Sync + use<> {
        let page = page.clone();
        move || page.clone()
    }

    #[test]
    fn json_lines_have_the_fields_on_top() {
        let log = written(
            |page| json("info", to(&page)).unwrap(),
            || {
                tracing::info!(worker = "w1", "a state changed");
                tracing::debug!("too small");
            },
        );
        let line: serde_json::Value = serde_json::from_str(&log).unwrap();
        assert_eq!(
            (&line["level"], &line["worker"], &line["message"]),
            (&"INFO".into(), &"w1".into(), &"a state changed".into())
        );
    }

    #[test]
    fn text_lines_are_for_people() {
        let log = written(|page| text("warn", to(&page), false).unwrap(), || tracing::warn!(host = "pve1", "away"));
        assert!(log.contains("WARN") && log.contains("away host=\"pve1\""), "{log}");
    }

    #[test]
    fn an_answer_that_kube_cannot_decode_is_never_printed() {
        for chosen in ["trace", "kube_client=trace", "kube_client::client=trace"] {
            let log = written(
                |page| json(chosen, to(&page)).unwrap(),
                || {
                    tracing::warn!(target: "kube_client::client", "the body of a Secret");
                },
            );
            assert_eq!(log, "", "{chosen}");
        }
    }

    #[test]
    fn a_wrong_filter_is_refused_with_an_example() {
        let error = filter("stevedore=loud").unwrap_err().to_string();
        assert!(error.contains("stevedore=loud") && error.contains("info,stevedore=debug"), "{error}");
    }
}
