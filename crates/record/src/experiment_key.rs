//! The keys of an experiment. A key is one entry of a `section!`. The entry gives the struct's field, the key in
//! `experiment.toml`, the flag of the command, its help, its default and its range. The types of the values are in
//! [`key_value`](crate::key_value).

use crate::key_value::{Arity, KeyValue, NO_NUMBER, NO_WHOLE_NUMBER, accept, number_of, shown, toml_value};

/// A key of an experiment.
#[derive(Debug, Clone)]
pub struct ExperimentKey {
    /// The section of `experiment.toml`; empty for a key above the sections.
    pub section: &'static str,
    /// The name in its section.
    pub name: String,
    /// The flag with the form of its value, such as `--epochs N`; without dashes for the one argument that has no flag.
    pub usage: &'static str,
    /// The help of the flag.
    pub help: String,
    /// The default in words; `None` for a key that is absent by default.
    pub default: Option<String>,
    /// `true` if the default in words follows from other keys.
    is_default_in_words: bool,
    /// The number of values that the flag takes.
    pub arity: Arity,
    /// The values, if there are only a few.
    pub choices: &'static [&'static str],
    /// The flag that excludes this one.
    pub excluded: Option<&'static str>,
    /// `true` if this flag stands for the key of the excluded one in a file.
    pub replaces_excluded: bool,
    /// `true` if this flag stands for its whole section in a file.
    pub replaces_section: bool,
    /// Reads the text of a value of the key's type.
    read: fn(&str) -> Result<toml::Value, String>,
    /// Refuses a value of TOML that is not of the key's type.
    accept: fn(&toml::Value) -> Result<(), String>,
    range: Option<KeyRange>,
}

#[derive(Debug, Clone, Copy)]
struct KeyRange {
    fits: fn(f64) -> bool,
    wants: &'static str,
}

impl ExperimentKey {
    /// Returns the key of a field. `help` is the field's documentation, a line each.
    pub(crate) fn new<T: KeyValue>(section: &'static str, field: &str, help: &[&str], default: &T) -> Self {
        let lines: Vec<&str> = help.iter().map(|line| line.trim()).collect();
        let rows = T::rows().map_or_else(String::new, |rows| format!(": {rows}"));
        let is_shown = T::ARITY == Arity::Value && !default.is_absent();
        Self {
            section,
            name: field.replace('_', "-"),
            usage: "",
            help: lines.join(" ") + &rows,
            default: is_shown.then(|| toml::Value::try_from(default).map(|value| shown(&value)).unwrap_or_default()),
            is_default_in_words: false,
            arity: T::ARITY,
            choices: T::CHOICES,
            excluded: None,
            replaces_excluded: false,
            replaces_section: false,
            read: |text| toml_value(&T::read(text)?),
            accept: accept::<T>,
            range: None,
        }
    }

    pub(crate) fn flag(self, usage: &'static str) -> Self {
        Self { usage, ..self }
    }

    /// Says the default in other words than its value.
    pub(crate) fn default(self, words: &str) -> Self {
        Self { default: Some(words.to_owned()), is_default_in_words: true, ..self }
    }

    /// Accepts numbers from 1.
    pub(crate) fn count(self) -> Self {
        self.within(|number| number >= 1.0, "at least 1")
    }

    /// Accepts the numbers that fit.
    pub(crate) fn within(self, fits: fn(f64) -> bool, wants: &'static str) -> Self {
        Self { range: Some(KeyRange { fits, wants }), ..self }
    }

    /// Refuses the flag beside another.
    pub(crate) fn not_with(self, flag: &'static str) -> Self {
        Self { excluded: Some(flag), ..self }
    }

    /// Refuses the flag beside another, whose key in a file it replaces.
    pub(crate) fn instead_of(self, flag: &'static str) -> Self {
        Self { replaces_excluded: true, ..self.not_with(flag) }
    }

    /// Lets the flag replace the whole section of a file.
    pub(crate) fn instead_of_section(self) -> Self {
        Self { replaces_section: true, ..self }
    }

    /// Returns the flag without its dashes, or the name of the argument that has no flag.
    pub fn id(&self) -> &str {
        self.long().unwrap_or(&self.name)
    }

    /// Returns the flag without its dashes; `None` for the argument that has no flag.
    pub fn long(&self) -> Option<&'static str> {
        self.usage.strip_prefix("--").map(|rest| rest.split(' ').next().unwrap_or(rest))
    }

    /// Returns the form of the flag's value, such as `N`.
    pub fn value_name(&self) -> &'static str {
        self.usage.rsplit(' ').next().unwrap_or(self.usage)
    }

    /// Returns `true` if the default is said in words, since it follows from other keys.
    pub fn has_default_in_words(&self) -> bool {
        self.is_default_in_words
    }

    /// Returns the range of the values in words.
    pub fn wants(&self) -> Option<&'static str> {
        self.range.map(|range| range.wants)
    }

    /// Reads the text of the flag as the value of `experiment.toml`. `ExperimentKey::refusal` checks the range.
    ///
    /// # Errors
    /// The values that are right.
    pub fn read(&self, text: &str) -> Result<toml::Value, String> {
        (self.read)(text).map_err(|why| self.with_range(why))
    }

    /// Adds the range of the key to the refusal of a text that is no number, or the words of a closed list.
    fn with_range(&self, why: String) -> String {
        match self.wants() {
            _ if !self.choices.is_empty() => format!("give one of {}", self.choices.join(", ")),
            _ if why != NO_NUMBER && why != NO_WHOLE_NUMBER => why,
            Some(wants) if wants.starts_with("a ") => format!("give {wants}"),
            Some(wants) => format!("{why}, {wants}"),
            None if why == NO_WHOLE_NUMBER => format!("{why} from 0"),
            None => why,
        }
    }

    /// Returns the name that `--set` takes, such as `local.epochs`.
    pub fn path(&self) -> String {
        if self.section.is_empty() { self.name.clone() } else { format!("{}.{}", self.section, self.name) }
    }

    /// Returns the value in the table of an experiment.
    pub fn find<'t>(&self, experiment: &'t toml::Table) -> Option<&'t toml::Value> {
        match self.section {
            "" => experiment.get(&self.name),
            section => experiment.get(section)?.get(&self.name),
        }
    }

    /// Returns the reason why the value in the table of an experiment is not of the key's type, or is out of range.
    pub(crate) fn refusal(&self, experiment: &toml::Table) -> Option<String> {
        let value = self.find(experiment)?;
        let named = |why: String| {
            // Other reasons have the value in them.
            let shown = if ["give ", "write "].iter().any(|remedy| why.starts_with(remedy)) {
                format!(" is {};", shown(value))
            } else {
                ":".to_owned()
            };
            let name = self.long().map_or_else(|| self.name.clone(), |long| format!("--{long}"));
            format!("{name}{shown} {why}")
        };
        if let Err(why) = (self.accept)(value) {
            return Some(named(self.with_range(why)));
        }
        let KeyRange { fits, wants } = self.range?;
        (!fits(number_of(value)?)).then(|| named(format!("give {wants}")))
    }
}

/// Defines a section of the experiment as a struct. An entry is a key: its help, its field with type and default, its
/// flag, and the methods of [`ExperimentKey`] that say more of it. A struct may begin with parts that are no keys.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        pub struct $name:ident in $section:tt {
            $(parts { $($(#[doc = $words:literal])+ $part:ident: $part_type:ty;)+ })?
            $(
                $(#[doc = $help:literal])+
                $field:ident: $type:ty = $default:expr => $flag:literal $(.$more:ident($($argument:expr),*))*;
            )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
        pub struct $name {
            $($($(#[doc = $words])+ pub $part: $part_type,)+)?
            $(
                $(#[doc = $help])+
                #[serde(skip_serializing_if = "crate::key_value::KeyValue::is_absent")]
                pub $field: $type,
            )+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($($part: Default::default(),)+)? $($field: $default,)+ }
            }
        }

        impl $name {
            /// Returns the keys of the section, in the order of the help.
            pub(crate) fn section_keys() -> Vec<crate::experiment_key::ExperimentKey> {
                let default = Self::default();
                vec![$(
                    crate::experiment_key::ExperimentKey::new($section, stringify!($field), &[$($help),+], &default.$field)
                        .flag($flag)
                        $(.$more($($argument),*))*,
                )+]
            }
        }
    };
}

pub(crate) use section;
