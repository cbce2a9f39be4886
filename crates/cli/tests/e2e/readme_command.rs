//! The claims of the READMEs about the command: its flags, the keys of an experiment, the tables of rows, and the files
//! of a run.

use std::collections::BTreeSet;

use fedpipe_record::{catalogue::CATALOGUES, experiment::Experiment, experiment_key::ExperimentKey};
use fedpipe_spec::table::{Entry, EntryParameter};

use crate::{
    common::{Place, stdout},
    markdown::{documents, read},
    readme::{check, check_documents, document},
};

/// Flags of programs other than `fedpipe`: the program, our file that takes the flags if there is one, the flags.
const OTHERS: &[(&str, Option<&str>, &[&str])] = &[
    ("just bench", Some("crates/cli/benches/whole/main.rs"), &["--peers", "--only", "--environments", "--chart"]),
    ("just flower", Some("crates/python/fedpipe/flower/local.py"), &["--tls", "--binary"]),
    (
        "fedpipe.conformance",
        Some("crates/python/fedpipe/conformance/__main__.py"),
        &["--shape", "--classes", "--real", "--option", "--own-randomness"],
    ),
    ("peers", Some("crates/python/peers/numpy_twin.py"), &["--epoch"]),
    (
        "cargo",
        None,
        &[
            "--workspace",
            "--release",
            "--locked",
            "--features",
            "--lib",
            "--test",
            "--bench",
            "--open",
            "--package",
            "--path",
        ],
    ),
    ("uv", None, &["--with"]),
    ("ps", None, &["--ppid"]),
    ("a client of one's own", None, &["--its"]),
    ("pyftsubset", None, &["--unicodes", "--layout-features", "--output-file"]),
    (
        "Flower",
        None,
        &[
            "--host",
            "--port",
            "--database",
            "--disable-runtime-dependency-installation",
            "--ssl-ca-certfile",
            "--ssl-certfile",
            "--ssl-keyfile",
            "--enable-supernode-auth",
            "--superlink",
            "--root-certificates",
            "--auth-supernode-private-key",
            "--node-config",
            "--stream",
            "--run-config",
        ],
    ),
];

fn help(command: &str) -> String {
    stdout(&Place::new().fedpipe(&format!("{command} --help")).output().unwrap())
}

/// Returns the flags in a text.
fn flags(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_lowercase() || c == '-';
    let starts =
        text.match_indices("--").filter(|(at, _)| !text[..*at].ends_with(|c: char| is_part(c) || c.is_alphanumeric()));
    let flag = |(at, _): (usize, &str)| text[at..].chars().take_while(|c| is_part(*c)).collect::<String>();
    starts.map(flag).filter(|flag| flag.len() > 2).collect()
}

#[test]
fn flags_that_are_named_exist() {
    let commands = [
        "run",
        "sweep",
        "baselines",
        "runs",
        "compare",
        "init",
        "config",
        "verify",
        "reload",
        "evaluate",
        "predict",
        "export",
        "report",
        "watch",
        "serve",
        "flower new",
        "models",
        "doctor",
        "completions",
        "man",
        "new-model",
        "strategies",
        "data fetch",
        "data list",
        "data show",
    ];
    let mut known: BTreeSet<String> = commands.iter().flat_map(|command| flags(&help(command))).collect();
    known.extend(["--help", "--version"].map(String::from));
    let mut wrong = Vec::new();
    for (program, source, others) in OTHERS {
        for flag in *others {
            let (name, flag) = (flag.trim_start_matches("--").replace('-', "_"), (*flag).to_owned());
            let takes = |source: &&str| read(source).contains(&flag) || read(source).contains(&format!("    {name}: "));
            if source.is_some() && source.filter(takes).is_none() {
                wrong.push(format!("{program} takes no {flag}"));
            }
            known.insert(flag);
        }
    }
    check(wrong);
    check_documents(|document, wrong| {
        let code = document.spans().into_iter().chain(document.code_lines());
        let named: BTreeSet<String> = code.flat_map(|code| flags(&code)).collect();
        wrong.extend(named.difference(&known).map(|flag| format!("no program takes {flag}")));
    });
}

/// The README lists the keys of each section, with the flag where its name differs.
#[test]
fn keys_of_an_experiment_are_those_that_the_readme_lists() {
    let readme = document("crates/cli/README.md");
    let mut wrong = Vec::new();
    let keys = Experiment::keys();
    let mut sections: Vec<&str> = keys.iter().map(|key| key.section).collect();
    sections.dedup();
    for section in sections {
        let shown = |key: &ExperimentKey| match key.long() {
            Some(flag) if flag != key.name => format!("`{}` (`--{flag}`)", key.name),
            _ => format!("`{}`", key.name),
        };
        let names: Vec<String> = keys.iter().filter(|key| key.section == section).map(shown).collect();
        let title = if section.is_empty() { "above the sections".to_owned() } else { format!("`[{section}]`") };
        let row = format!("| {title} | {} |", names.join(" "));
        if !readme.text.contains(&row) {
            wrong.push(format!("crates/cli/README.md has no row {row}"));
        }
    }
    let flags = flags(&help("run"));
    let absent = keys.iter().filter_map(ExperimentKey::long).filter(|flag| !flags.contains(&format!("--{flag}")));
    wrong.extend(absent.map(|flag| format!("the help has no --{flag}")));
    check(wrong);
}

/// The lists of rows, the READMEs that have them as tables, and the commands that print them.
#[test]
fn tables_of_rows_are_those_of_the_source() {
    let (strategy, data, cli) =
        (read("crates/strategy/README.md"), read("crates/data/README.md"), read("crates/cli/README.md"));
    let mut wrong = Vec::new();
    for catalogue in &CATALOGUES {
        let rows = (catalogue.rows)();
        let readme = if catalogue.name == "partitioners" { &data } else { &strategy };
        for row in &rows {
            let expected = table_row(row);
            if !readme.contains(&expected) {
                wrong.push(format!("{}: no README has the row\n{expected}", catalogue.name));
            }
        }
        let forms: Vec<String> = rows.iter().map(|row| format!("`{}`", row.example)).collect();
        let expected = format!("| `{}` | {} |", catalogue.flag, forms.join(" · "));
        if !cli.contains(&expected) {
            wrong.push(format!("crates/cli/README.md has no row\n{expected}"));
        }
        let place = Place::new();
        let text = stdout(&place.fedpipe(catalogue.name).output().unwrap());
        let json = stdout(&place.fedpipe(&format!("{} --json", catalogue.name)).output().unwrap());
        let json: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
        for (row, listed) in rows.iter().zip(&json) {
            let parameters = row.parameters.iter().all(|parameter| text.contains(parameter.help));
            if listed["name"] != row.name || !text.contains(&row.example) || !text.contains(row.source) || !parameters {
                wrong.push(format!("`fedpipe {}` does not list {}", catalogue.name, row.name));
            }
        }
        assert_eq!(json.len(), rows.len());
    }
    check(wrong);
}

/// Returns a row as a line of a table in a README.
fn table_row(row: &Entry) -> String {
    let parameter = |parameter: &EntryParameter| {
        let EntryParameter { key, range, help, .. } = parameter;
        format!("; `{key}`: {help}; {range}")
    };
    let parameters: String = row.parameters.iter().map(parameter).collect();
    format!("| `{}` | {}{parameters} | {} |", row.example, row.summary, row.source)
}

#[test]
fn commands_and_exit_codes_are_those_of_the_help() {
    let (help, readme) = (help(""), document("crates/cli/README.md"));
    let mut wrong = Vec::new();
    let plain = |text: &str| text.replace('`', "").split_whitespace().collect::<Vec<_>>().join(" ");
    let (commands, codes) = help.split_once("Exit codes:\n").unwrap();
    let commands = commands.lines().skip_while(|line| *line != "Commands:").skip(1);
    // A line that is indented further continues the line before.
    let commands = commands.take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   "));
    for command in commands.filter_map(|line| line.split_whitespace().next()).filter(|command| *command != "help") {
        if !documents().iter().any(|document| document.text.contains(&format!("fedpipe {command}"))) {
            wrong.push(format!("no README names `fedpipe {command}`"));
        }
    }
    let table = readme.text.split_once("## Exit codes").unwrap().1.lines().filter_map(|line| line.strip_prefix("| "));
    let rows = table.map(|row| row.trim_end_matches(" |").split_once(" | ").unwrap_or((row, "")));
    let rows: Vec<(String, String)> = rows.skip(1).map(|(code, text)| (code.replace(' ', ""), plain(text))).collect();
    // A line that begins with no number continues the line before.
    let words = codes.split_whitespace().map(str::to_owned);
    let is_code = |word: &str| rows.iter().any(|(code, _)| code == word);
    let codes = words.fold(Vec::<(String, String)>::new(), |mut codes, word| {
        match codes.last_mut() {
            Some((_, text)) if !is_code(&word) => *text += &format!(" {word}"),
            _ => codes.push((word, String::new())),
        }
        codes
    });
    assert_eq!(rows.len(), codes.len(), "{rows:?}\n{codes:?}");
    for ((code, stated), (known, text)) in rows.iter().zip(&codes) {
        if code != known || !stated.starts_with(text.trim()) {
            wrong.push(format!("the README has {code}: {stated:?}, the help {known}: {text:?}"));
        }
    }
    check(wrong);
}

#[test]
fn a_run_leaves_the_files_that_the_readme_lists() {
    /// Files that only some runs leave.
    const SOMETIMES: [&str; 9] = [
        "clock-HASH.csv",
        "events.out.tfevents.…",
        "initial.safetensors",
        "trace.json",
        "model-from-NNNNNN.so",
        "clients/NNN.log",
        "clients/strategy.log",
        "split-HASH.csv",
        "state/CLIENT-ROUND.safetensors",
    ];
    let readme = document("crates/cli/README.md");
    let section = readme.text.split_once("## Files of a run").unwrap().1.split_once("\n## ").unwrap().0;
    let listed: BTreeSet<&str> =
        section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let place = Place::new();
    let run = place.run("logreg --clients 2 --rounds 2");
    let entries = std::fs::read_dir(&run.0).unwrap().map(|entry| entry.unwrap());
    let name = |entry: std::fs::DirEntry| {
        let (name, is_folder) = (entry.file_name().into_string().unwrap(), entry.path().is_dir());
        if is_folder { format!("{name}/") } else { name }
    };
    // Clients that print nothing leave an empty folder.
    let left: BTreeSet<String> = entries.map(name).filter(|name| name != "clients/").collect();
    let left: BTreeSet<&str> = left.iter().map(String::as_str).chain(SOMETIMES).collect();
    assert_eq!(listed.into_iter().collect::<Vec<_>>(), left.into_iter().collect::<Vec<_>>());
}

#[test]
fn the_lines_of_a_ledger_are_those_that_the_readme_lists() {
    let source = read("crates/record/src/line.rs");
    let body = source.split_once("pub enum Line<'a> {").unwrap().1.split_once("\n}\n").unwrap().0;
    let lines: Vec<&str> = body.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    let name_of = |index: usize| {
        index.checked_sub(1).and_then(|before| lines[before].strip_prefix("#[serde(rename = \"")?.split('"').next())
    };
    let variants = lines.iter().enumerate().filter(|(_, line)| line.starts_with(char::is_uppercase));
    let snake = |name: &str| {
        name.chars().enumerate().fold(String::new(), |text, (index, c)| match c {
            c if c.is_uppercase() && index > 0 => text + "_" + &c.to_lowercase().to_string(),
            c => text + &c.to_lowercase().to_string(),
        })
    };
    // A name on the line before is that of the ledger.
    let events: Vec<String> = variants
        .map(|(index, line)| {
            name_of(index).map_or_else(|| snake(line.split([' ', '(']).next().unwrap()), str::to_owned)
        })
        .collect();
    assert!(events.len() > 8, "{events:?}");
    let listed = events.iter().map(|line| format!("`{line}`")).collect::<Vec<_>>().join(", ");
    assert!(
        document("crates/cli/README.md").running_text().contains(&listed),
        "the README does not list the events {listed}"
    );
}
