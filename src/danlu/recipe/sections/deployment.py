"""The recipe's section `deployment`: which files a run writes that serve its bundle, by the words of `danlu deploy`."""

from typing import Annotated

from pydantic import BeforeValidator, Field, PositiveInt, model_validator

from danlu.core.component import Frozen


class Autoscale(Frozen):
    """Limit how many replicas Kubernetes may run."""

    min: PositiveInt = 2
    max: PositiveInt = 10

    @model_validator(mode="after")
    def _check_order(self) -> "Autoscale":
        if self.min > self.max:
            raise ValueError(f"min is {self.min}, above max, which is {self.max}")
        return self


class Kubernetes(Frozen):
    """Configure the manifests for Kubernetes and KServe."""

    replicas: PositiveInt | None = Field(
        default=None, description="a fixed number; when left out, the autoscaler decides by processor time"
    )
    autoscale: Autoscale | None = Field(default=None, description="2 to 10 replicas by default")

    @model_validator(mode="after")
    def _check_one(self) -> "Kubernetes":
        if self.replicas is not None and self.autoscale is not None:
            raise ValueError("replicas is a fixed number, and autoscale changes it; leave one of them out")
        return self

    @property
    def scale(self) -> Autoscale | None:
        """The autoscaler's limits; None for a fixed number of replicas."""
        return None if self.replicas is not None else self.autoscale or Autoscale()


class Server(Frozen):
    """Configure the server in an image."""

    engine: str = Field(default="auto", description="auto for the bundle's own order, or the name of an engine")
    workers: Annotated[int, Field(ge=1, le=16)] = Field(default=1, description="processes that answer")


def _kubernetes_of_bool(value: object) -> object:
    """Read true as all defaults, and false as none."""
    if isinstance(value, bool):
        return {} if value else None
    return value


class Deployment(Frozen):
    """Write the files that serve the bundle, into the run's folder `deployment`."""

    server: Server = Server()
    container: bool = Field(default=False, description="Dockerfile, requirements, danlu's wheel, bill of materials")
    compose: bool = Field(default=False, description="a compose file that serves the image on one machine")
    kubernetes: Annotated[Kubernetes | None, BeforeValidator(_kubernetes_of_bool)] = Field(
        default=None, description="manifests; true for all defaults"
    )
    kserve: bool = Field(default=False, description="an InferenceService of KServe")
    edge: bool = Field(default=False, description="the model in ONNX with a runner that needs no danlu")
    hashes: bool = Field(default=False, description="ask pip's package index for the SHA-256 of each package")
    image: str | None = Field(default=None, description="the image's name and tag")
