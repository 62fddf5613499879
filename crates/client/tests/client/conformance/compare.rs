//! Compares what came out with what a case wants, and keeps the values of its names (`$create`).

use std::collections::BTreeMap;

use serde_json::Value;

/// What the names stand for so far.
#[derive(Default)]
pub(super) struct Bindings(BTreeMap<String, Value>);

impl Bindings {
    /// Puts the values of names in their places.
    pub(super) fn fill(&self, value: &Value) -> Result<Value, String> {
        match value {
            Value::String(name) if name.starts_with('$') => {
                self.0.get(name).cloned().ok_or_else(|| format!("{name} is not known yet"))
            }
            Value::Array(all) => all.iter().map(|one| self.fill(one)).collect(),
            Value::Object(fields) => {
                fields.iter().map(|(name, one)| Ok((name.clone(), self.fill(one)?))).collect()
            }
            rest => Ok(rest.clone()),
        }
    }

    /// Whether everything that is wanted is there.
    pub(super) fn matches(
        &mut self,
        wanted: &Value,
        found: Option<&Value>,
        place: &str,
    ) -> Result<(), String> {
        let found = found.unwrap_or(&Value::Null);
        let differs = || Err(format!("{place}: wanted {wanted}, got {found}"));
        match wanted {
            Value::String(name) if name.starts_with('$') => {
                let known = self.0.entry(name.clone()).or_insert_with(|| found.clone());
                if known == found { Ok(()) } else { differs() }
            }
            Value::Array(all) => match found.as_array() {
                Some(got) if got.len() == all.len() => {
                    let mut pairs = all.iter().zip(got).enumerate();
                    pairs.try_for_each(|(at, (one, got))| {
                        self.matches(one, Some(got), &format!("{place}[{at}]"))
                    })
                }
                _ => differs(),
            },
            Value::Object(fields) => {
                if let Some(most) = fields.get("atMost").and_then(Value::as_f64) {
                    return if found.as_f64().is_some_and(|number| number <= most) {
                        Ok(())
                    } else {
                        differs()
                    };
                }
                if !found.is_object() {
                    return differs();
                }
                fields.iter().try_for_each(|(name, one)| {
                    self.matches(one, found.get(name), &format!("{place}.{name}"))
                })
            }
            Value::Number(number) if number.as_f64() == found.as_f64() => Ok(()),
            same if same == found => Ok(()),
            _ => differs(),
        }
    }
}
