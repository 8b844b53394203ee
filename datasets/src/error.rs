/// What can go wrong with data: each message is one paragraph that names the file, option or sample,
/// says what is wrong, and then what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// No data set has this name.
    #[error("{0}")]
    Unknown(String),
    /// A data set that reads files was opened without a folder.
    #[error("data set {dataset:?} reads files, but no folder was given. {expected}")]
    NoRoot {
        /// The data set.
        dataset: &'static str,
        /// Which files are expected where.
        expected: &'static str,
    },
    /// A file is missing, unreadable or not what it should be.
    #[error("{file}: {problem}. {advice}")]
    File {
        /// The file or folder; a picture in a zip is `archive.zip/path/in/archive.png`.
        file: String,
        /// What is wrong with it.
        problem: String,
        /// What to do about it.
        advice: String,
    },
    /// An option is out of range, or does not fit the data or the other options.
    #[error("{option}: {problem}. {advice}")]
    Option {
        /// The option's name.
        option: &'static str,
        /// What is wrong with it.
        problem: String,
        /// What to do about it.
        advice: String,
    },
    /// A sample could not be turned into a row of a batch.
    #[error("sample {id} ({sample}): {problem}. {advice}")]
    Sample {
        /// Index of the sample in its split.
        id: usize,
        /// [`Dataset::describe`](crate::Dataset::describe) of it.
        sample: String,
        /// What is wrong with it.
        problem: String,
        /// What to do about it.
        advice: String,
    },
}

impl DataError {
    pub(crate) fn file(
        file: impl Into<String>,
        problem: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self::File {
            file: name(&file.into()),
            problem: sentence(&problem.into()),
            advice: advice.into(),
        }
    }

    pub(crate) fn option(
        option: &'static str,
        problem: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self::Option { option, problem: sentence(&problem.into()), advice: advice.into() }
    }
}

/// What a file or a picture in an archive calls itself, on one line.
pub(crate) fn name(text: &str) -> String {
    let shown = |c: char| if c.is_control() { c.escape_debug().collect() } else { c.to_string() };
    text.chars().map(shown).collect()
}

/// Other libraries' messages, and what files hold, fit for the middle of a paragraph: one line, no full
/// stop at the end, a thousand characters at most.
pub(crate) fn sentence(message: &str) -> String {
    let words: Vec<&str> = message.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(1000) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.trim_end_matches('.').to_owned(),
    }
}
