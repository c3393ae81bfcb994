//! The ranks as a grid with named axes.

use mlx::distributed::Group;

use crate::{Error, Result};

/// Ranks arranged in a grid, in row-major order: the last axis varies fastest, as in JAX.
///
/// ```
/// use mlx_compiler::sharding::Mesh;
/// let mesh = Mesh::new(&[("data", 2), ("model", 4)])?;
/// assert_eq!((mesh.size(), mesh.coordinates(6)), (8, vec![1, 2]));
/// # Ok::<(), mlx_compiler::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mesh {
    axes: Vec<MeshAxis>,
}

/// One axis of a [`Mesh`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshAxis {
    /// The name that a [`PartitionSpec`](super::PartitionSpec) uses.
    pub name: String,
    /// The number of ranks along it.
    pub size: usize,
    /// The group of the ranks along it, which collectives name.
    pub group: String,
}

impl Mesh {
    /// Returns a mesh whose groups are called as its axes: for planning, and for simulated ranks.
    ///
    /// # Errors
    /// When an axis has no rank, or two have one name.
    pub fn new(axes: &[(&str, usize)]) -> Result<Self> {
        let named = axes.iter().map(|&(name, size)| MeshAxis {
            name: name.to_owned(),
            size,
            group: name.to_owned(),
        });
        Self::of_axes(named.collect())
    }

    /// Returns the mesh of the ranks of a group. All ranks must call it: a group is formed for each axis of several.
    ///
    /// # Errors
    /// When the sizes do not make the size of the group, or a group cannot be formed.
    pub fn of_group(group: &Group, axes: &[(&str, usize)]) -> Result<Self> {
        let mut mesh = Self::new(axes)?;
        if mesh.size() != group.size() {
            return Err(Error::Unsupported(format!(
                "mesh: wanted axes of {} ranks together, got {axes:?}",
                group.size()
            )));
        }
        let coordinates = mesh.coordinates(group.rank());
        let size = mesh.size();
        for (place, axis) in mesh.axes.iter_mut().enumerate() {
            axis.group = match axis.size {
                1 => String::new(),
                n if n == size => group.name().to_owned(),
                _ => {
                    let others = coordinates.iter().enumerate();
                    let color = others
                        .filter(|(other, _)| *other != place)
                        .fold(0, |color, (other, at)| color * axes[other].1 + at);
                    let color = i32::try_from(color).unwrap_or(i32::MAX);
                    group.split(color, -1)?.name().to_owned()
                }
            };
        }
        Ok(mesh)
    }

    fn of_axes(axes: Vec<MeshAxis>) -> Result<Self> {
        for (place, axis) in axes.iter().enumerate() {
            if axis.size == 0 || axes[..place].iter().any(|other| other.name == axis.name) {
                return Err(Error::Unsupported(format!(
                    "mesh: wanted axes of one rank at least with different names, got {:?} of {}",
                    axis.name, axis.size
                )));
            }
        }
        Ok(Self { axes })
    }

    /// Returns the axes.
    pub fn axes(&self) -> &[MeshAxis] {
        &self.axes
    }

    /// Returns the number of ranks.
    pub fn size(&self) -> usize {
        self.axes.iter().map(|axis| axis.size).product()
    }

    /// Returns a rank's place along each axis.
    pub fn coordinates(&self, rank: usize) -> Vec<usize> {
        let mut rest = rank;
        let mut places: Vec<usize> = self
            .axes
            .iter()
            .rev()
            .map(|axis| {
                let place = rest % axis.size;
                rest /= axis.size;
                place
            })
            .collect();
        places.reverse();
        places
    }

    /// Returns the ranks that share a group with this one along an axis, in the order of the group.
    pub fn peers(&self, rank: usize, axis: usize) -> Vec<usize> {
        let own = self.coordinates(rank);
        let is_peer = |other: &usize| {
            let places = self.coordinates(*other);
            let mut pairs = own.iter().zip(&places).enumerate();
            pairs.all(|(place, (a, b))| place == axis || a == b)
        };
        (0..self.size()).filter(is_peer).collect()
    }
}
