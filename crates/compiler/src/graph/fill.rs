//! Constants of a graph that was read from a text, filled in.

use mlx::ArrayType;

use super::{Constant, Graph, ValueOrigin};

impl Graph {
    /// Returns the graph with its missing constants replaced by `arrays`, in the order of the text: its own, then those
    /// of the graphs inside its nodes.
    ///
    /// # Errors
    /// When there are more or fewer of them, or one has another type.
    pub fn with_constants(
        mut self,
        arrays: impl IntoIterator<Item = mlx::Array>,
    ) -> mlx::Result<Self> {
        let mut arrays = arrays.into_iter();
        self.fill(&mut |wanted| {
            let Some(array) = arrays.next() else {
                let message = format!("wanted another array, {wanted}, got no more");
                return Err(mlx::Error::op("with_constants", message));
            };
            let got = mlx::compiler_api::type_of(&array)?;
            if got != *wanted {
                let message = format!("wanted an array {wanted}, got {got}");
                return Err(mlx::Error::op("with_constants", message));
            }
            Ok(array)
        })?;
        match arrays.count() {
            0 => Ok(self),
            more => {
                let message = format!("all constants have values, got {more} more");
                Err(mlx::Error::op("with_constants", message))
            }
        }
    }

    fn fill(
        &mut self,
        next: &mut dyn FnMut(&ArrayType) -> mlx::Result<mlx::Array>,
    ) -> mlx::Result<()> {
        for definition in &mut self.values {
            if matches!(definition.origin, ValueOrigin::Constant(Constant::Missing)) {
                let array = next(&definition.array_type)?;
                definition.origin = ValueOrigin::Constant(Constant::Array(array));
            }
        }
        for node in &mut self.nodes {
            if node.operation.op().is_some() {
                continue;
            }
            let mut failed = None;
            node.operation = node.operation.map_all_graphs(&mut |graph| {
                let mut graph = graph.clone();
                if failed.is_none() {
                    failed = graph.fill(next).err();
                }
                graph
            });
            failed.map_or(Ok(()), Err)?;
        }
        Ok(())
    }

    /// Returns the graph with another array for each one that the function captured, those of graphs inside included.
    ///
    /// # Errors
    /// When `map` fails.
    pub(crate) fn map_captured(
        &self,
        map: &mut dyn FnMut(&mlx::Array) -> mlx::Result<mlx::Array>,
    ) -> mlx::Result<Self> {
        let mut graph = self.clone();
        for definition in &mut graph.values {
            if let ValueOrigin::Constant(Constant::Array(array)) = &definition.origin {
                definition.origin = ValueOrigin::Constant(Constant::Array(map(array)?));
            }
        }
        for node in &mut graph.nodes {
            if node.operation.op().is_some() {
                continue;
            }
            let mut failed = None;
            node.operation = node.operation.map_all_graphs(&mut |inner| match inner
                .map_captured(map)
            {
                Ok(inner) => inner,
                Err(error) => {
                    failed.get_or_insert(error);
                    inner.clone()
                }
            });
            failed.map_or(Ok(()), Err)?;
        }
        Ok(graph)
    }

    /// Adds the arrays that the function captured, in the order in which [`with_constants`](Self::with_constants) takes them.
    pub(crate) fn collect_captured<'a>(&'a self, captured: &mut Vec<&'a mlx::Array>) {
        for definition in &self.values {
            if let ValueOrigin::Constant(Constant::Array(array)) = &definition.origin {
                captured.push(array);
            }
        }
        for node in &self.nodes {
            for (_, inner) in node.operation.graphs() {
                inner.collect_captured(captured);
            }
        }
    }
}
