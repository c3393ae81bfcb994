//! Which parameters a pattern names.

/// One pattern or several: `"head"`, `["*.bias", "layers.0"]`.
///
/// A pattern is the full name of a parameter or of a module, which stands for all of its parameters. `*` stands for any
/// number of characters, also dots, and `?` for one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a pattern of names",
    label = "wanted a text such as `\"*.bias\"`, or an array of such"
)]
pub trait Patterns {
    /// Returns the patterns.
    fn patterns(&self) -> Vec<String>;
}

impl Patterns for str {
    fn patterns(&self) -> Vec<String> {
        vec![self.to_owned()]
    }
}

impl Patterns for String {
    fn patterns(&self) -> Vec<String> {
        vec![self.clone()]
    }
}

impl<P: Patterns> Patterns for [P] {
    fn patterns(&self) -> Vec<String> {
        self.iter().flat_map(Patterns::patterns).collect()
    }
}

impl<P: Patterns, const N: usize> Patterns for [P; N] {
    fn patterns(&self) -> Vec<String> {
        self.as_slice().patterns()
    }
}

impl<P: Patterns> Patterns for Vec<P> {
    fn patterns(&self) -> Vec<String> {
        self.as_slice().patterns()
    }
}

impl<P: Patterns + ?Sized> Patterns for &P {
    fn patterns(&self) -> Vec<String> {
        P::patterns(self)
    }
}

/// Returns whether a pattern names a parameter, or a module that holds it.
pub(super) fn names(pattern: &str, parameter: &str) -> bool {
    let prefixes = parameter.match_indices('.').map(|(at, _)| &parameter[..at]);
    prefixes
        .chain([parameter])
        .any(|name| is_match(pattern.as_bytes(), name.as_bytes()))
}

/// Matches with `*` and `?`; goes back to the last `*` only, which is enough.
fn is_match(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&byte) if byte == b'?' || byte == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    p = at + 1;
                    n = from + 1;
                    star = Some((at, n));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn patterns_name_parameters_and_modules() {
        for (pattern, parameter, wanted) in [
            ("head.bias", "head.bias", true),
            ("head", "head.bias", true),
            ("head", "heads.bias", false),
            ("bias", "head.bias", false),
            ("*.bias", "layers.0.head.bias", true),
            ("layers.?.head", "layers.0.head.bias", true),
            ("layers.*.norm", "layers.0.head.bias", false),
            ("*", "weight", true),
            ("l*s.*.we*", "layers.10.fc.weight", true),
            ("", "weight", false),
        ] {
            assert_eq!(names(pattern, parameter), wanted, "{pattern} {parameter}");
        }
    }
}
