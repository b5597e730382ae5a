//! What is said about a faulty contract: where, what, and how to mend it. In full, because people read it.

use std::path::Path;

use contract::Contract;

const FAULTS: &str = include_str!("faults.txt");

const HEAD: &str = "\
apiVersion: v3.1.0
kind: DataContract
id: t
version: 1.0.0
status: active
schema:
  - name: t
    physicalName: c.t
    properties:
";

const COLUMNS: &str = "\
- {name: a, logicalType: string, primaryKey: true}
- {name: n, logicalType: integer}
- {name: x, logicalType: number}
- {name: t, logicalType: timestamp}
- {name: s, logicalType: object, properties: [{name: f, logicalType: string}]}
";

#[test]
fn faults_are_placed_and_explained() {
    let mut read = 0;
    // The first piece is the preface.
    for case in FAULTS.split("\n\n[").skip(1) {
        let (kind, case) = case.split_once("]\n").expect("a kind");
        let (yaml, expected) = case.split_once("\n=> ").expect("a message");
        // The next section's title may follow.
        let expected = expected.split("\n\n").next().unwrap_or_default().trim_end();
        let text = document(kind, yaml);
        let said = match Contract::parse(Path::new("x.yaml"), &text) {
            Ok(_) => "it is read".to_owned(),
            Err(error) => error.to_string(),
        };
        assert_eq!(said, format!("x.yaml:{expected}"), "[{kind}]\n{text}");
        read += 1;
    }
    assert_eq!(read, 158);
}

fn document(kind: &str, yaml: &str) -> String {
    let sound = || format!("{HEAD}{}", indented("- {name: a, logicalType: string}", 6));
    match kind {
        "columns" => format!("{HEAD}{}", indented(yaml, 6)),
        "table" => format!("{HEAD}{}{}", indented(COLUMNS, 6), indented(yaml, 4)),
        "after" => format!("{}{yaml}\n", sound()),
        "replace" => {
            let (from, to) = yaml.split_once('\n').expect("two lines");
            let (from, to) = (format!("{from}\n"), if to.is_empty() { String::new() } else { format!("{to}\n") });
            sound().replacen(&from, &to, 1)
        }
        "document" => yaml.to_owned(),
        other => panic!("no kind {other}"),
    }
}

fn indented(yaml: &str, spaces: usize) -> String {
    yaml.lines().map(|line| format!("{:spaces$}{line}\n", "")).collect()
}
